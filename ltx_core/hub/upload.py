"""Upload to a model repository on the hub, in one commit, and say what to do where that fails. No torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined] # HTTPError: the client's HTTP library, not named
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from ltx_core.errors import ConfigError, LtxError, TransientError

LOGIN = "log in here with `hf auth login`, or set HF_TOKEN, with a token that may write"
AGAIN = "nothing else is lost; run `publish` again"
PASSING = (408, 409, 425, 429)
"""Statuses besides 5xx that pass by themselves."""


def may_upload() -> bool:
    """Return whether a token is known here; the hub alone knows what it allows."""
    return get_token() is not None


def page_of(repository: str) -> str:
    """Address of a repository, of the endpoint that the client is set to."""
    return f"{constants.ENDPOINT}/{repository}"


def upload(repository: str, files: Sequence[tuple[str, Path]], *, private: bool, message: str) -> tuple[str, str]:
    """Make the repository if it is not there, and commit the files; those that it has already are not sent again. Gives
    the repository's full name, `owner/name`, and the commit that has the files: the newest one if it had all of them.

    Args:
        repository: `owner/name`, or a name alone for the account's own.
        files: name in the repository, and the file here.
        private: for a repository that is made; one that exists stays as it is.
        message: of the commit.

    Raises:
        ConfigError: no token, not allowed, or no such name; no retry helps.
        TransientError: the network or the hub failed.
    """
    api = HfApi(token=True)
    with _upload_errors(repository):
        made = api.create_repo(repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, file) for name, file in files]
        commit = api.create_commit(made.repo_id, operations, commit_message=message)
    return made.repo_id, commit.oid


@contextmanager
def _upload_errors(repository: str) -> Iterator[None]:
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ConfigError(
            f"uploading to {repository} needs an account of the hub, and there is none: {LOGIN}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ConfigError(f"HF_HUB_OFFLINE forbids to upload to {repository}; unset it") from error
    except HFValidationError as error:
        raise ConfigError(f"{repository!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        raise _refused(error, repository) from error
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError is all that hf_xet raises; ValueError, that the client does not understand the hub's answer.
        raise TransientError(f"uploading to {repository} failed: {error!r}; {AGAIN}") from error


def _refused(error: HfHubHTTPError, repository: str) -> LtxError:
    status = error.response.status_code
    if status >= 500 or status in PASSING:
        return TransientError(f"the hub answered {status} to an upload to {repository}; {AGAIN}")
    if status in (401, 403, 404):
        return ConfigError(
            f"the hub refused an upload to {repository} ({status}): the account may not write there. Check the name, "
            f"or {LOGIN}."
        )
    return ConfigError(f"the hub did not take an upload to {repository}: {error}")
