"""Of iptables' own tables, those that nobody uses any more go."""

import pytest

from local_cluster import network

NEW = """table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
	}

	chain FORWARD {
		type filter hook forward priority filter; policy accept;
	}
}
"""
USED = {
    "a rule": NEW.replace("policy accept;", "policy accept;\n\t\tip saddr 192.0.2.1 counter drop", 1),
    "a rule that nft cannot show": NEW.replace("policy accept;", 'policy accept;\n\t\t# match "set"', 1),
    "a chain of somebody's": NEW.replace("\tchain FORWARD", "\tchain DOCKER-USER {\n\t}\n\n\tchain FORWARD"),
    "what a hook forbids": NEW.replace("policy accept;", "policy drop;", 1),
}


@pytest.mark.parametrize("table", ["table ip nat {\n}\n", NEW, f"# Warning: table ip filter is managed\n{NEW}"])
def test_a_table_that_holds_nothing_is_idle(table: str) -> None:
    assert network._is_idle(table)  # noqa: SLF001 - the rest of it changes the machine


@pytest.mark.parametrize("held", USED)
def test_a_table_that_holds_something_is_not(held: str) -> None:
    assert not network._is_idle(USED[held])  # noqa: SLF001
