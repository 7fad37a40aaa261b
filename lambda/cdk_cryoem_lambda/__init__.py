"""The hooks' handlers: parse, decide (pure), act. Standard library and boto3 only."""
