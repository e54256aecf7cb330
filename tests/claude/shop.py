"""What the agents of the walkthrough say and do, by hand and under a head."""

from tests.claude.head import ALL, ours
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn

FIRST = ALL.replace("each", "all")
TEST = "python3 -m unittest --quiet"
TAX = "def with_tax(cents, percent):\n    return cents + round(cents * percent / 100)\n"
DISCOUNT = "def discounted(cents, percent):\n    return cents - round(cents * percent / 100)\n"
RECEIPT = """from discount import discounted
from shop import total
from tax import with_tax


def receipt(prices, discount, tax):
    due = with_tax(discounted(total(prices), discount), tax)
    return [*map(str, prices), f"total {due}"]
"""
CASE = """import unittest

from {module} import {name}


class It(unittest.TestCase):
    def test_it(self):
        self.assertEqual({call}, {value})
"""


def bash(*commands: str) -> Tool:
    return Tool("Bash", {"command": " && ".join(commands)})


def write(path: str, content: str) -> Tool:
    return Tool("Write", {"file_path": path, "content": content})


def edit(path: str, old: str, new: str) -> Tool:
    return Tool("Edit", {"file_path": path, "old_string": old, "new_string": new})


def case(module: str, name: str, call: str, value: int) -> Tool:
    return write(f"test_{module}.py", CASE.format(module=module, name=name, call=call, value=value))


def commit(message: str, *paths: str) -> Tool:
    return bash(TEST, f"git add {' '.join(paths)}", f"git commit -qm '{message}'")


def hand_out(api: ModelApi) -> None:
    """Three agents; the first two wait at the gate `told` until the second has been told something."""
    api.route(
        "Write receipt.py",
        Turn("I read what the others have written.", [bash("cat tax.py discount.py")]),
        Turn("", [write("receipt.py", RECEIPT)], expect="math.ceil"),
        Turn("", [commit("A receipt", "receipt.py")]),
        Turn("receipt gives a line for each price, and the total with discount and tax."),
        Turn("", [Tool("Read", {"file_path": "receipt.py"})], expect="a word of thanks"),
        Turn("", [edit("receipt.py", 'due}"]', 'due}", "Thank you!"]')]),
        Turn("", [commit("Thanks", "receipt.py")]),
        Turn("A receipt ends with thanks now."),
    )
    api.route(
        "Write tax.py",
        Turn("", [write("tax.py", TAX)]),
        Turn("", [case("tax", "with_tax", "with_tax(100, 19)", 119), commit("Tax", "tax.py", "test_tax.py")], hold="told"),
        Turn("with_tax adds the tax; its test passes."),
    )
    api.route(
        "Write discount.py",
        Turn("", [write("discount.py", DISCOUNT)]),
        Turn("Does it work?", [case("discount", "discounted", "discounted(999, 5)", 949), bash(TEST)], hold="told"),
        Turn(
            "So the discount is rounded up.",
            [edit("discount.py", "round(", "math.ceil("), edit("discount.py", "def discounted", "import math\n\n\ndef discounted")],
            expect="favour of the customer",
        ),
        Turn("", [commit("Discount", "discount.py", "test_discount.py")]),
        Turn("discounted takes the discount off, rounded in favour of the customer."),
    )


def lead(api: ModelApi) -> None:
    """A head with two agents of its own."""
    parts = ("voucher", "stock")
    for part in parts:
        api.route(
            f"Write {part}.py",
            Turn("", [write(f"{part}.py", f"def {part}():\n    return 10\n"), case(part, part, f"{part}()", 10)]),
            Turn("", [commit(part.title(), f"{part}.py", f"test_{part}.py")]),
            Turn(f"{part}.py is there."),
        )
    told = "Write {0}.py with a function {0}(), and test_{0}.py with unittest. Run the tests, and commit."
    api.route(
        "Let two agents",
        Turn("", [ours("spawn_agent", prompt=told.format(part), agentName="claude/haiku") for part in parts]),
        Turn("", [ours("wait_for_agent", ids=ALL)]),
        Turn("", [bash(f"devsh orchestrate diff {FIRST}")], expect="stock.py is there"),
        Turn("", [bash(f"devsh orchestrate merge {ALL}"), bash(TEST)], expect="def voucher"),
        Turn("voucher.py and stock.py are merged, each with its test; all tests pass.", expect="(?s)merged into main.*OK"),
    )
