"""What is answered to operators, on admin.sock."""
