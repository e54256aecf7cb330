"""The forms that the showcase server has a client fill in."""

from mcp.server.mcpserver import Context
from pydantic import BaseModel, Field

STATES = {"enum": ["active", "inactive", "pending"]}


class Answer(BaseModel):
    """Two texts."""

    username: str = Field(description="who answers")
    email: str = Field(description="and where he is reached")


class Defaults(BaseModel):
    """One field of every plain kind, each with a default."""

    name: str = Field(default="John Doe")
    age: int = Field(default=30)
    score: float = Field(default=95.5)
    status: str = Field(default="active", json_schema_extra=STATES)
    verified: bool = Field(default=True)


class Choices(BaseModel):
    """Every way in which the protocol writes a choice."""

    untitledSingle: str = Field(json_schema_extra=STATES)
    titledSingle: str = Field(json_schema_extra={"oneOf": [{"const": "low", "title": "Low"}, {"const": "high", "title": "High"}]})
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": ["read", "write"]}})
    titledMulti: list[str] = Field(
        json_schema_extra={"items": {"anyOf": [{"const": "bug", "title": "Bug"}, {"const": "docs", "title": "Docs"}]}}
    )
    legacyEnum: str = Field(json_schema_extra={"enum": ["small", "large"], "enumNames": ["Small", "Large"]})


async def asked(ctx: Context, message: str, form: type[BaseModel]) -> str:
    """What the client's user said."""
    said = await ctx.elicit(message=message, schema=form)
    content = said.data.model_dump_json() if said.action == "accept" else "{}"
    return f"User response: action={said.action}, content={content}"
