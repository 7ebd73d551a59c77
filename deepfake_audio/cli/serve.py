"""``deepfake-audio serve``, ``keys``, ``audit`` and so on: the moderation service, its accounts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, MissingExtraError
from . import EXIT_HIT
from .console import JsonOption, errors_end_the_command, say

if TYPE_CHECKING:
    from ..server.database import Database, Delivery
    from ..server.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings, TOML; DEEPFAKE_AUDIO_* come first."),
]

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the database and of the audio."),
]

keys_app = typer.Typer(no_args_is_help=True, help="API keys of the service.")
feedback_app = typer.Typer(no_args_is_help=True, help="What reviewers decided.")
callbacks_app = typer.Typer(no_args_is_help=True, help="Callbacks, and those nobody took.")
audit_app = typer.Typer(no_args_is_help=True, help="The audit trail of the service.")


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes any.")] = None,
    data: DataOption = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME_OR_PATH", help="Released model, or a checkpoint.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy-file", "--policy", metavar="FILE", help="Thresholds and actions, TOML."
        ),
    ] = None,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="No keys, on this machine only: a first try.")
    ] = False,
) -> None:
    """Run the moderation service: recordings and live rooms in, decisions out.

    Without --insecure-local every request needs a key: `deepfake-audio keys create`.
    """
    with errors_end_the_command():
        settings = _settings(
            config,
            host=host,
            port=port,
            data_dir=data,
            model=model,
            policy_file=policy,
            insecure_local=insecure_local or None,
        )
        from ..server.run import run

        run(settings, on_listening=lambda url: say(f"listening on {url}"))


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    scope: Annotated[
        list[str], typer.Option(help="submit, read, review, admin or operator; may be repeated.")
    ] = ["submit", "read"],  # noqa: B006
    tenant: Annotated[str, typer.Option(help="Whose data it sees.")] = "default",
    days: Annotated[
        float | None, typer.Option(min=0, help="Days until it ends; never if none.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make a key; its secret is printed now and never again."""
    with errors_end_the_command(), _database(config, data, create=True) as database:
        from ..server import keys
        from ..server.database import now

        try:
            scopes = frozenset(map(keys.Scope, scope))
        except ValueError as error:
            raise ConfigError(
                str(error), name="scope", hint=f"use {', '.join(keys.Scope)}"
            ) from error
        with database.write() as session:
            key, secret = keys.create(
                session, tenant=tenant, name=name, scopes=scopes, expires_at=_in_days(days, now())
            )
        say(f"{key.id} for {tenant}: {', '.join(key.scopes)}")
        typer.echo(secret)


@keys_app.command("list")
def list_keys(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """List all keys."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import keys

        with database.read() as session:
            rows = [
                {
                    "id": key.id,
                    "tenant": key.tenant,
                    "name": key.name,
                    "scopes": key.scopes,
                    "created_at": key.created_at.isoformat(),
                    "expires_at": key.expires_at.isoformat() if key.expires_at else None,
                    "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
                }
                for key in keys.listed(session)
            ]
        if as_json:
            typer.echo(json.dumps(rows, indent=1))
            return
        for row in rows:
            state = "revoked" if row["revoked_at"] else "valid"
            scopes = ",".join(map(str, row["scopes"] or []))
            typer.echo(f"{row['id']}  {state:<7}  {row['tenant']}  {scopes}  {row['name']}")


@keys_app.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY")],
    overlap_days: Annotated[
        float, typer.Option(min=0, help="Days for which the old key still holds.")
    ] = 0.0,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make a new secret for a key; the old one ends."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import keys
        from ..server.database import now

        until = _in_days(overlap_days, now()) if overlap_days else None
        with database.write() as session:
            key, secret = keys.rotate(session, key_id, old_until=until)
        say(f"{key.id} follows {key_id}")
        typer.echo(secret)


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY")],
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """End a key at once."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import keys

        with database.write() as session:
            keys.revoke(session, key_id)
        say(f"{key_id} is revoked")


@audit_app.command("verify")
def verify_audit(
    expect: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="A head kept elsewhere, that must be in it."),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Read the whole chain; exit status 1 if any row was changed, added or removed."""
    with errors_end_the_command(), _database(config, data, upgrade=False) as database:
        from ..server import audit

        try:
            expected = audit.Head.parse(expect) if expect else None
        except ValueError as error:
            raise ConfigError(str(error), name="--expect") from error
        with database.read() as session:
            found = audit.verify(session, expected=expected)
        if found.fault is not None:
            say(f"the audit trail is broken: {found.fault}")
            raise typer.Exit(EXIT_HIT)
        say(f"{found.events} events, whole")
        typer.echo(str(found.head))


@audit_app.command("head")
def audit_head(config: ConfigOption = None, data: DataOption = None) -> None:
    """Print the newest link, to be kept somewhere else and handed to `verify --expect`."""
    with errors_end_the_command(), _database(config, data, upgrade=False) as database:
        from ..server import audit

        with database.read() as session:
            typer.echo(str(audit.current_head(session)))


@audit_app.command("export")
def export_audit(
    after: Annotated[int, typer.Option(min=0, help="Only events after this number.")] = 0,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write events as JSON lines, each with what its hash is made of."""
    with errors_end_the_command(), _database(config, data, upgrade=False) as database:
        from ..server import audit

        with database.read() as session:
            for event in audit.events(session, after=after):
                sys.stdout.write(json.dumps(audit.as_dict(event)) + "\n")


@feedback_app.command("export")
def export_feedback(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the labelled set.")],
    tenant: Annotated[str, typer.Option(help="Whose recordings.")] = "default",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write reviewed recordings as a labelled set that `train --data` takes."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import feedback
        from ..server.store import Store

        settings = _settings(config, data_dir=data)
        store = Store(settings.storage, settings.data_dir / "incoming")
        with database.read() as session:
            tenants = feedback.tenants(session)
        if tenant not in tenants:
            raise ConfigError(
                f"no recordings of tenant {tenant}",
                name="--tenant",
                hint=f"there are some of {', '.join(tenants) or 'nobody'}",
            )
        found = feedback.export(database, store, out, tenant=tenant)
        say(
            f"{found.genuine} genuine, {found.synthetic} synthetic; "
            f"{found.without_audio} more whose audio has been deleted"
        )
        typer.echo(str(out / feedback.MANIFEST))


@callbacks_app.command("list")
def list_callbacks(
    state: Annotated[str, typer.Option(help="pending, delivered, dead, or all of them.")] = "dead",
    tenant: Annotated[str | None, typer.Option(help="Whose; all tenants' if none.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List callbacks, the newest first: by default those that were given up."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import webhooks

        for delivery in _callbacks(database, state, tenant):
            row = webhooks.as_dict(delivery)
            typer.echo(
                json.dumps(row)
                if as_json
                else f"{row['id']}  {row['state']:<9}  {delivery.tenant}  {row['event']}  "
                f"{row['subject']}  {row['url']}  {row['last_error'] or ''}".rstrip()
            )


@callbacks_app.command("retry")
def retry_callbacks(
    callback_ids: Annotated[list[str] | None, typer.Argument(metavar="CALLBACK...")] = None,
    all_dead: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Try callbacks that were given up again; the running service makes them."""
    with errors_end_the_command(), _database(config, data) as database:
        from ..server import webhooks

        if bool(callback_ids) == all_dead:
            raise ConfigError("name callbacks, or give --all", name="callbacks retry")
        # One by one: the receivers of some must not wait for the identifiers of others.
        wanted = callback_ids or [dead.id for dead in _callbacks(database, "dead", tenant)]
        for callback_id in wanted:
            with database.write() as session:
                webhooks.retry(session, callback_id, tenant=tenant)
        say(f"{len(wanted)} will be tried again")


def _callbacks(database: Database, state: str, tenant: str | None) -> Iterator[Delivery]:
    from ..server import webhooks

    try:
        wanted = None if state == "all" else webhooks.State(state)
    except ValueError as error:
        raise ConfigError(
            str(error), name="state", hint=f"use {', '.join(webhooks.State)} or all"
        ) from error
    cursor = None
    while True:
        with database.read() as session:
            found, cursor = webhooks.page(session, tenant, wanted, cursor=cursor, limit=200)
        yield from found
        if cursor is None:
            return


def _settings(config: Path | None, **given: object) -> Settings:
    try:
        from ..server.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the service needs {error.name}", hint='pip install "deepfake-audio[server]"'
        ) from error
    return Settings.load(config, **given)


@contextmanager
def _database(
    config: Path | None, data: Path | None, *, create: bool = False, upgrade: bool = True
) -> Iterator[Database]:
    """Open the service's database.

    Parameters
    ----------
    create : bool
        Make one where there is none; otherwise a mistyped folder is told, and not an empty trail.
    upgrade : bool
        Bring it to the present version; whoever only reads what the service keeps leaves it.
    """
    settings = _settings(config, data_dir=data)
    from ..server import migrations
    from ..server.database import Database, sqlite_file

    file = sqlite_file(settings.database)
    if file is not None and not create and not file.is_file():
        raise ConfigError(
            "no database here", name=str(file), hint="give the --config or --data of the service"
        )
    database = Database(settings.database)
    try:
        if not create and not database.is_made:
            raise ConfigError(
                "is no database of the service",
                name="database",
                hint="give the --config or --data of the service",
            )
        if upgrade:
            migrations.upgrade(database)
        yield database
    finally:
        database.close()


def _in_days(days: float | None, moment: datetime) -> datetime | None:
    return None if days is None else moment + timedelta(days=days)
