"""What the console command does: each word of it is a module here, which reads its options and calls the package."""
