"""``selvedge fleet publish``: what a release of PoPs that are run one by one names beside them."""

from __future__ import annotations

from pathlib import Path

from selvedge.adapters import open_release, operator_public_key, pop_public_key, read_secret
from selvedge.control import Home
from selvedge.fabric import Collector, Control
from tests.support.fabric import EXAMPLE, Site


def test_publish_names_the_control_process_and_the_collectors(tmp_path: Path) -> None:
    site = Site(tmp_path / "home")
    ports = iter(range(9101, 9200))
    text = EXAMPLE.read_text()
    while "threads: 1" in text:
        text = text.replace("threads: 1", f"port: {next(ports)}", 1)
    for pop in ("sin", "fra"):
        text = text.replace(f"  {pop}:\n", f"  {pop}:\n    peer: {pop}.example.net:8444\n")
    config = tmp_path / "fleet.yaml"
    config.write_text(text)
    told = site.command("fleet", "publish", str(config), "--json").json
    assert (told["control"], told["collectors"], told["key_files"]) == (None, {}, {})
    other = pop_public_key(bytes(32))
    config.write_text(
        f"{text}\ncontrol: {{url: 'http://10.0.0.7:8191'}}\ncollectors:\n"
        "  eea: {url: 'http://10.0.0.8:8201'}\n"
        f"  asean: {{url: 'https://collector.example', public_key: '{other}'}}\n"
    )
    told = site.command("fleet", "publish", str(config), "--json").json
    home = site.home.resolve()
    assert told["key_files"] == {
        "control": str(home / "control.key"),
        "collectors.eea": str(home / "collectors/eea/collector.key"),
    }
    public = operator_public_key(Home(site.home).operator_key())
    release = open_release(Path(told["release_file"]).read_bytes(), public).release
    own = {
        name: pop_public_key(read_secret(Path(path))) for name, path in told["key_files"].items()
    }
    assert release.control == Control("http://10.0.0.7:8191", own["control"])
    assert release.collectors == (
        Collector("eea", "http://10.0.0.8:8201", own["collectors.eea"]),
        Collector("asean", "https://collector.example", other),
    )
    config.write_text(f"{text}\ncollectors: {{moon: {{url: 'http://a'}}}}\n")
    told = site.command("fleet", "publish", str(config), "--json")
    assert told.code == 1
    assert "collectors.moon: is not under zones" in told.err
