"""Credentials in a store's address: taken out of it, since addresses are stored and shown.

They belong to the environment, under the names that MLflow and the databases' drivers read; child
processes inherit them there and never see them among their arguments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

from convforge.errors import InputError

TRACKING_URI = "MLFLOW_TRACKING_URI"
_USERNAME, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_LIBPQ, _LIBMYSQL = "PGPASSWORD", "MYSQL_PWD"
# The variable that a driver takes its password from. The others have none: pymysql, pyodbc, pg8000.
_DRIVERS = {
    "postgresql": _LIBPQ,
    "postgresql+psycopg": _LIBPQ,
    "postgresql+psycopg2": _LIBPQ,
    "mysql": _LIBMYSQL,
    "mysql+mysqldb": _LIBMYSQL,
}
#: What holds credentials: nothing that shows an environment may show these.
VARIABLES = (_USERNAME, _PASSWORD, "MLFLOW_TRACKING_TOKEN", _LIBPQ, _LIBMYSQL)
_URI = re.compile(r"(?P<scheme>\w[\w.+-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_SECRET = r"[\w.-]*(?:pass|password|passwd|passphrase|pwd|secret|token|credentials?|api_?key)"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_HIDDEN = "***"


@dataclass(frozen=True)
class Separated:
    """An address without its credentials, and these.

    Attributes:
        uri: what is left, for everybody to see.
        variables: the credentials, by the variable that whoever connects reads.
        problem: why it cannot be used in this way; empty where it can.
    """

    uri: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: str = ""


def separate(uri: str) -> Separated:
    """`uri` without its credentials.

    Example:
        >>> separate("http://ada:pass@host:5000").uri
        'http://host:5000'
        >>> sorted(separate("postgresql://ada:pass@host/runs").variables)
        ['PGPASSWORD']
        >>> separate("postgresql://ada:pass@host/runs").uri
        'postgresql://ada@host/runs'
    """
    found = _URI.fullmatch(uri)
    if not found:
        return Separated(uri)
    scheme, authority, rest = found["scheme"].lower(), found["authority"], found["rest"]
    if not authority and scheme.partition("+")[0] in ("sqlite", "file"):
        return Separated(uri)  # A file's name may have any letter in it.
    path = re.split("[?#]", rest)[0]
    if "@" in path or (authority and "@" in rest and "@" not in authority):
        why = "a user or a password has @ as %40, / as %2F, ? as %3F and # as %23"
        return Separated(redacted_uri(uri), problem=why)
    web = scheme in ("http", "https")
    userinfo, at, host = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    variables = {}
    variable = _PASSWORD if web else _DRIVERS.get(scheme, "")
    if password or (web and user):
        variables[variable] = unquote(password)
    if web and (user or password):
        variables[_USERNAME] = unquote(user)
    kept = [] if web or not user else [user]
    rest, more = _without_secrets(rest, {} if web else {"password": variable, "passwd": variable})
    variables |= more
    clean = f"{found['scheme']}://{''.join(kept)}{at if kept else ''}{host}{rest}"
    return Separated(clean, variables, _problem(scheme, variables, web))


def _without_secrets(rest: str, known: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """What follows the host, without the query's passwords; one without a variable has ""."""
    path, question, query = rest.partition("?")
    variables, kept = {}, []
    for item in query.split("&"):
        key, _, value = item.partition("=")
        nested = re.search(r"\b(?:pwd|password)\s*=", unquote_plus(value), re.IGNORECASE)
        if nested or _SECRET_KEY.fullmatch(unquote_plus(key)):
            variables[known.get(unquote_plus(key).lower(), "")] = unquote_plus(value)
        else:
            kept.append(item)
    return path + (question if any(kept) else "") + "&".join(kept), variables


def _problem(scheme: str, variables: Mapping[str, str], web: bool) -> str:
    if "" in variables:
        way = " (an option file can hold it: ?read_default_file=FILE)" if "mysql" in scheme else ""
        return f"{scheme} takes this password from no variable of the environment{way}"
    if any("\0" in value for value in variables.values()):
        return "no variable of the environment holds a %00"
    if web and variables and not (variables[_USERNAME] and variables[_PASSWORD]):
        return "MLflow takes a user with a password; a token alone is MLFLOW_TRACKING_TOKEN's"
    return ""


def take_credentials(uri: str, name: str) -> str:
    """`uri` without its credentials, which from now on are in the environment.

    Args:
        uri: a store's address.
        name: what it was given as.

    Raises:
        InputError: nobody would find them there.
    """
    separated = separate(uri)
    if separated.problem:
        raise InputError(f"{name}={redacted_uri(uri)!r} is not allowed: {separated.problem}")
    os.environ.update(separated.variables)
    return separated.uri


def take_from_environment() -> None:
    """Leave in MLFLOW_TRACKING_URI the address alone, for this process and its children."""
    given = os.environ.get(TRACKING_URI)
    if given:
        os.environ[TRACKING_URI] = take_credentials(given, TRACKING_URI)


def redacted_uri(uri: str) -> str:
    """`uri`, however wrong it is, with its credentials hidden.

    Example:
        >>> redacted_uri("http://ada:pass@host:5000"), redacted_uri("ada:pa/ss@host")
        ('http://***@host:5000', '***@host')
    """
    scheme, colon, rest = uri.rpartition("://") if uri.count("://") == 1 else ("", "", uri)
    if "@" in rest and not rest.startswith("/"):
        rest = f"{_HIDDEN}@{rest.rpartition('@')[2]}"
    return redacted(f"{scheme}{colon}{rest}")


def redacted(text: str) -> str:
    """`text` with the credentials of all addresses in it hidden.

    Example:
        >>> redacted("no answer from http://ada:pass@host:5000 in time")
        'no answer from http://***@host:5000 in time'
    """
    text = re.sub(r"(?i)(https?://)[^\s'\"]*@", rf"\1{_HIDDEN}@", text)
    # A database's user without a password is no secret.
    text = re.sub(r"(\w://)[^\s'\":@/]*:[^\s'\"]*@", rf"\1{_HIDDEN}@", text)
    text = re.sub(rf"(?i)([?&]{_SECRET}=)[^&\s'\"]*", rf"\1{_HIDDEN}", text)
    return re.sub(r"(?i)([?&]odbc_connect=)[^&\s'\"]*", rf"\1{_HIDDEN}", text)
