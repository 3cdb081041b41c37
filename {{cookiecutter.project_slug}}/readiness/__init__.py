"""A production-readiness checklist that inspects whatever this project has become."""
