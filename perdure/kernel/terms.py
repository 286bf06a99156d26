"""What a run is started with beside its workflow and its arguments."""

import msgspec


class RunTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Kept with the run's first event. A run with none of these has no terms at all.

    `request_id` names the request that made the run, so that the same one made again finds it.
    """

    request_id: str = ""
