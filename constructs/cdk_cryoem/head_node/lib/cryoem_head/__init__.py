"""The head node's own programs. Standard library only, except where a module says otherwise; Python 3.9 or later."""
