"""What is written into a picture's file about how it was made and what the check said."""
