"""What the console command does: each word of it is a function, which reads its options and calls the package."""
