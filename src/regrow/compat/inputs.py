"""What an executor says about its inputs, as a type that refuses what doesn't fit.

An `inputs_schema` is a pydantic model or a JSON Schema. Of a JSON Schema the types and the required
keys are checked, which is what that system reads of it. The executor gets its inputs as they came:
nothing is converted, and no default is filled in.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired, Required, Union, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, WithJsonSchema, WrapValidator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler
from typing_extensions import TypedDict

Schema = type[BaseModel] | Mapping[str, Any]

_TYPES: Final[Mapping[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
    "null": None,
}


def json_schema_of(schema: Schema | None) -> dict[str, Any]:
    """Give the JSON Schema that people and tools are shown, `{}` if there is none."""
    if schema is None:
        return {}
    if isinstance(schema, Mapping):
        return dict(schema)
    return TypeAdapter(schema).json_schema()


def checked(schema: Schema) -> Any:
    """Give a type whose values are the inputs themselves, and whose errors say what is wrong."""
    if isinstance(schema, Mapping):
        as_written = WithJsonSchema(dict(schema))
        return Annotated[_mapping(schema), WrapValidator(_as_it_came), as_written]
    return Annotated[schema, WrapValidator(_as_it_came)]


def _as_it_came(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    handler(value)
    return value


def _mapping(schema: Mapping[str, Any]) -> Any:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required: list[str] = list(schema.get("required") or ())
    fields = {
        name: (Required if name in required else NotRequired)[_type(properties.get(name) or {})]
        for name in dict.fromkeys([*properties, *required])
    }
    made = cast("Any", TypedDict)("Inputs", fields)
    made.__pydantic_config__ = ConfigDict(strict=True, extra="ignore")
    return made


def _type(schema: Mapping[str, Any]) -> Any:
    said = schema.get("type")
    if said == "object" and schema.get("properties"):
        return _mapping(schema)
    if isinstance(said, list):
        return Union[tuple(_TYPES.get(each, Any) for each in cast("list[str]", said))]  # noqa: UP007 - of a list
    return _TYPES.get(str(said), Any)
