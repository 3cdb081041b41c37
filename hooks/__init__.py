"""What cookiecutter runs around its copying; a package only so that the tests can import it."""
