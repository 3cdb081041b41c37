"""What a busy database would not survive, found before it is sent."""
