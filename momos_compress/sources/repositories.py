"""Repositories of the Hugging Face hub as sources: org/name, org/name@revision, hf-hub:ID."""

from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.address import HUB_SCHEMES, Address
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import random_checkpoint
from momos_compress.sources.registry import LIBRARIES, Opening, SourceKind, library_of, weights_suffixes
from momos_compress.sources.weights_files import shard_names


def written_as_path(address: Address) -> bool:
    """Whether the address can only be meant as a path: by how it begins, or by a weights file's ending."""
    return address.text.startswith((".", "/", "~")) or address.path.suffix in weights_suffixes()


class Repository:
    """A repository with a config.json that belongs to a known library."""

    suffixes = ()
    remote = True

    def claims(self, address: Address) -> bool:
        """Whether the hub's scheme stands before it, or it reads org/name."""
        if address.scheme:
            return address.scheme in HUB_SCHEMES
        return address.where.count("/") == 1 and not written_as_path(address)

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """Its weights at one commit, with the network that its config.json names."""
        repo, source = address.where, address.text
        if not repo:
            raise SourceError(f"{source!r} names no model; write {address.scheme}:ORG/NAME")
        config_path, config = hub.fetch_config(repo)
        commit = hub.commit_of(config_path)
        origin = {"id": repo, "revision": commit}
        if commit is not None:
            repo = f"{hub.split_revision(repo)[0]}@{commit}"  # the branch may move before the weights are fetched
        library = library_of(config)
        if library is None:
            raise SourceError(f"{source}: its config.json belongs to none of the libraries {', '.join(LIBRARIES)}")
        if not opening.pretrained:
            return random_checkpoint(source, library.architecture(config, config_path.parent), opening.seed)
        weights = hub.fetch_first(repo, library.weights_names)
        if weights.name.endswith(".index.json"):
            for shard in shard_names(weights):
                hub.fetch_first(repo, (shard,))
        return library.open_directory(source, weights.parent, weights, config, origin)

    def revision(self, address: Address) -> str | None:
        """The commit that the repository is at."""
        return hub.latest_commit(address.where)

    def repository(self, address: Address) -> str | None:
        """The repository's id without its revision."""
        return hub.split_revision(address.where)[0]


KIND: SourceKind = Repository()
