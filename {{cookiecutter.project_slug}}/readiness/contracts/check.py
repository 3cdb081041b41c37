"""K6: what the release before still sends, and what the next one will."""

from collections.abc import AsyncGenerator

from readiness.check import Check
from readiness.contracts.folder import Folder
from readiness.contracts.recording import record
from readiness.contracts.release import last
from readiness.contracts.upgrade import Upgrade
from readiness.rehearsal import Rehearsal


class ReleasesShareTheSchema(Check):
    """Two releases can share the schema."""

    id = "K6"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Record what queries send with `make contracts-update`, and review what has changed.

        Keep it at each release with `make contracts-release`. Change the schema in steps: expand,
        and a release later contract; docs/deploys.md says how.
        """
        self.inspected = len(list(rehearsal.queries()))
        folder = Folder(rehearsal.subject.contracts)
        release = last(folder)
        if not folder.recorded and release is None:
            # A new project has nothing to compare with.
            self.left_out.append(("all queries", "`make contracts-update` has recorded none yet"))
            return
        recording = await record(rehearsal)
        for finding in (*recording.failures, *folder.differences(recording.contracts)):
            yield finding
        if release:
            self.inspected += len(release.contracts)
            async for finding in Upgrade(rehearsal, release, recording.contracts).findings():
                yield finding
