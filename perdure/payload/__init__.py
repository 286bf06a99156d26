"""Values and bytes: arguments and results as JSON by their type hints, and where large ones go.

What is encoded is decoded at once by the decoder that will read it, and compared: what is accepted comes back equal. So
nothing is silently changed, with these exceptions, which JSON asks for and which are the same each time:

- `Any` gives back what JSON holds: a dataclass becomes a dict, a tuple or set a list, a date, UUID or Decimal a text.
- The JSON form of a value may be given for it: a text for a date, a dict for a dataclass. It comes back as the hint says.
- An int for a float comes back as a float; a tuple and a list pass for each other.
- A datetime keeps its offset from UTC, not the name of its zone.

Encoding is strict (a field nobody knows is an error), decoding is not (it is ignored): a history may have been written by
code that had more fields. Equal values give equal bytes: all fields are there in a fixed order, sets are sorted; but a
dict keeps the order it has.

`misfit` says what does not fit; `encoder` knows what JSON does not; `shape` and `hints` read types; `parts` walks values;
`paths` finds the place that msgspec means; `codec` is one type, compiled; `parameters`, `values` and `untyped` are made
of it; `schema` describes types to clients; `sealing` keeps large bytes apart; `coding` is where a
codec of the user's comes in; `memo` is what people note about a run.
"""

from perdure.payload.coding import PLAIN, Coder, PayloadCodec
from perdure.payload.memo import memo_json
from perdure.payload.parameters import Parameters
from perdure.payload.sealing import seal, unseal
from perdure.payload.untyped import encode_untyped
from perdure.payload.values import ValueType

__all__ = ["PLAIN", "Coder", "Parameters", "PayloadCodec", "ValueType", "encode_untyped", "memo_json", "seal", "unseal"]
