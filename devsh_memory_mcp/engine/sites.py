"""The orchestrations of one memory root that are open in this process, each once, whoever asks for it; and where tasks were found."""

from collections import OrderedDict

from devsh_memory_mcp.domain.names import is_reserved
from devsh_memory_mcp.engine.link import RunnerLink
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.root import Found

_MOST_PLACES = 20_000


class Sites:
    """A journal is opened for the first who takes it and closed with the last who gives it back."""

    def __init__(self, link: RunnerLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._open: dict[str, Site] = {}
        self._users: dict[str, int] = {}
        self._places: OrderedDict[str, Found] = OrderedDict()

    def take(self, found: Found) -> Site:
        """The orchestration's site; to be given back."""
        name = found.orchestration_id
        if name not in self._open:
            journal = FileJournal(found.directory, self._clock)
            self._open[name] = Site(name, found.directory, journal, self._link, self._clock)
        self._users[name] = self._users.get(name, 0) + 1
        return self._open[name]

    async def give_back(self, site: Site) -> None:
        """Closes its journal where nobody else has it."""
        name = site.orchestration_id
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name], self._open[name]
            await site.journal.aclose()

    def find(self, any_id: str) -> Found | None:
        """Where the task was found before; only ids that we give out are remembered, since nothing else can come to have them."""
        return self._places.get(any_id)

    def remember(self, any_id: str, found: Found) -> None:
        """The task is there, and will be."""
        if is_reserved(any_id):
            self._places[any_id] = found
            while len(self._places) > _MOST_PLACES:
                self._places.popitem(last=False)
