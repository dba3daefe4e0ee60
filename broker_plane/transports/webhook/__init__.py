"""MCP over webhooks (docs/mcp-over-webhooks.md): short requests to a front, and signed callbacks with the answers.

The one rule: whatever waits is stored, and costs neither a connection nor a coroutine.
"""
