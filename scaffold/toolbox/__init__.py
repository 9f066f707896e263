"""The tools that a coding agent calls, over MCP or from `scaffold agent`: one table, typed, fenced in."""
