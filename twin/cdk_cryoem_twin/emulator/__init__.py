"""The AWS emulator (ministack) with what it lacks. Only extension.py knows ministack's private names."""
