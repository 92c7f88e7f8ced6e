"""What a worker and its clients read from the environment."""

from typing import Final

from docs.generate.markdown import code, joined, one_line, table
from docs.generate.schemas import default_of, kind_of

from regrow.settings import Settings

_INTRO: Final = """
# Settings

There is no configuration file of Regrow's. Options on the command line go before the environment.
"""
_OWN: Final = """
Read by `regrow worker`, and by `dev` and `run` where they run one. Lists are separated by commas.
What cannot be used is named, all of it at once, and nothing starts.
"""
_TEMPORAL: Final = """
Where Temporal is and how to reach it: Temporal's own variables and
[configuration file](https://docs.temporal.io/develop/environment-configuration), read by every
command that speaks to a server, and by `TreeClient.connect()`. Options go before variables, these
before the file.
"""
TEMPORAL_VARIABLES: Final = {
    "TEMPORAL_ADDRESS": "Host and port; default: `localhost:7233`.",
    "TEMPORAL_NAMESPACE": "The namespace; default: `default`.",
    "TEMPORAL_API_KEY": "An API key, as for Temporal Cloud; turns TLS on.",
    "TEMPORAL_TLS": "`true` turns TLS on without a client certificate.",
    "TEMPORAL_TLS_CLIENT_CERT_PATH": "The client's certificate; `…_DATA` holds it itself.",
    "TEMPORAL_TLS_CLIENT_KEY_PATH": "Its key; likewise `…_DATA`.",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "The authority that signed the server's certificate;"
    " likewise `…_DATA`.",
    "TEMPORAL_TLS_SERVER_NAME": "The name that the server's certificate must have.",
    "TEMPORAL_GRPC_META_NAME": "A header of every request, here `name`.",
    "TEMPORAL_CONFIG_FILE": "The configuration file; default: where Temporal's own tools keep it.",
    "TEMPORAL_PROFILE": "Which profile of that file; default: `default`.",
}
_OTHERS: Final = """
`http_request` trusts the certificate authorities in `SSL_CERT_FILE`, if it is set. `command` gives
a program `PATH`, `HOME`, `LANG` and `TZ` of the worker and no other variable.
"""


def page() -> str:
    """Give the page."""
    return joined(
        _INTRO,
        "## The worker",
        _OWN,
        table(("variable", "value", "default", "meaning"), _settings()),
        "## Temporal",
        _TEMPORAL,
        table(("variable", "meaning"), [(code(k), text) for k, text in TEMPORAL_VARIABLES.items()]),
        "## Others",
        _OTHERS,
    )


def _settings() -> list[tuple[str, str, str, str]]:
    prefix = Settings.model_config.get("env_prefix", "")
    return [
        (
            code(f"{prefix}{name.upper()}"),
            kind_of(field),
            default_of(field),
            one_line(field["description"]),
        )
        for name, field in Settings.model_json_schema()["properties"].items()
    ]
