"""What a team tests its slices with."""
