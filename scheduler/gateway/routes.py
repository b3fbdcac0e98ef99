"""Which requests are whose: written down, told to the proxy, and a door opened where one is asked.

The order is the same for every change: what cannot be is refused, a port is bound, the state is
written, and only then the proxy is told, settings first and then who is sent to them.

Next: ``watch.py``.
"""

from __future__ import annotations

from pathlib import Path

from ..observed import Route
from . import routing
from .admin import Admin
from .doors import Doors
from .files import replace_file
from .state import State


class Routes:
    """The routes of one gateway. Its lock is the caller's business.

    Args:
        folder: where the proxy's maps are.
        state: what the gateway was told.
        admin: the proxy's ear.
        doors: the published ports.
    """

    def __init__(self, folder: Path, state: State, admin: Admin, doors: Doors) -> None:
        self._folder = folder
        self._state = state
        self._admin = admin
        self._doors = doors

    def set(self, route: Route) -> None:
        """Say which requests belong to a deployment; see ``HaproxyGateway.set_route``."""
        routing.check_route(route)
        state, name = self._state, route.deployment
        routing.check_free(route, state.routes.values())
        before, place = state.routes.get(name), state.places.get(name)
        if place is None or not routing.suits(place, route):
            place = routing.find_place(route, state.taken())
        if route.published is not None:
            self._doors.open(route.published)
        state.routes[name], state.places[name] = route, place
        state.save()
        self.tell()
        if before and before.published not in {None, route.published}:
            self._doors.close(before.published or 0)

    def remove(self, deployment: str) -> None:
        """Forget a deployment; what waits for it is answered with 503."""
        route = self._state.routes.pop(deployment, None)
        if route is None:
            return
        self._state.places.pop(deployment, None)
        self._state.save()
        self.tell()
        if route.published is not None:
            self._doors.close(route.published)

    def open_doors(self) -> dict[int, str]:
        """Return the published ports that could not be opened again, and why."""
        published = (route.published for route in self._state.routes.values())
        return self._doors.adopt(port for port in published if port is not None)

    def write(self) -> None:
        """Write what a new proxy begins with."""
        for name, entries in self._maps().items():
            text = "".join(f"{key} {value}\n" for key, value in entries.items())
            replace_file(self._folder / f"{name}.map", text)

    def tell(self) -> None:
        """Tell the proxy that runs: settings first, then who is sent to them."""
        for name, entries in self._maps().items():
            self._admin.update(self._folder / f"{name}.map", entries)

    def _maps(self) -> dict[str, dict[str, str]]:
        routes, places = self._state.routes, self._state.places
        return {
            "settings": {places[name]: routing.settings(route) for name, route in routes.items()},
            "ports": routing.port_map(routes, places),
            "routes": routing.route_map(routes, places),
        }
