"""Recordings of real exits are read as what KVM itself counted, and what is no whole recording is refused."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from svmlib.costs.recordings import KINDS, Exit, RecordingError, parse, read
from svmlib.emulators import qemu
from svmlib.emulators.witness import exits, kernel

FOLDER = Path(__file__).parent / "recorded" / "exits"
SEQUENCES = ("trace-cmd.txt", "trace-cmd-N.txt", "tracefs.txt")
TEXT = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
#: A recording's name -> what KVM counted while it was made: "exits" and "host_state_reload".
COUNTED = {
    name: {"exits": int(exits), "puts": int(puts)}
    for name, exits, puts in re.findall(
        r"^(\S+\.txt): exits (\d+) host_state_reload (\d+)$", TEXT["about.txt"], flags=re.MULTILINE
    )
}
COUNTED["trace-cmd-N.txt"] = COUNTED["trace-cmd.txt"]

# -- against the kernel's own counters


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_has_as_many_exits_as_kvm_counted(name):
    found = read(FOLDER / name)
    assert found.total == len(found.exits) == COUNTED[name]["exits"]
    assert set(found.kinds) == set(KINDS)


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_exit_gives_the_host_back_as_often_as_kvm_did(name):
    """KVM also counts a thread that is scheduled out between vcpu_load() and its first entry: seldom."""
    found = read(FOLDER / name)
    puts = found.total - found.kinds["kernel"]
    assert 0 <= COUNTED[name]["puts"] - puts <= 2
    assert found.share == pytest.approx(puts / found.total)


def test_perf_counts_an_exit_when_the_guest_is_entered_again():
    """Thus all but the last exit of each of the two vCPUs."""
    found = read(FOLDER / "perf.txt")
    assert (found.format, found.exits, found.seconds) == ("perf kvm stat", (), None)
    assert found.total == COUNTED["perf.txt"]["exits"] - 2


def test_the_guests_program_is_found_in_what_they_left_for():
    """guests.c: in each round eight times CPUID, RDMSR and a doorbell, one port, and one or eight halts."""
    found = read(FOLDER / "trace-cmd-N.txt")
    of = Counter((exit_.reason, exit_.vcpu) for exit_ in found.exits)
    assert [of["cpuid", vcpu] for vcpu in (0, 1)] == [32, 32]
    assert sorted(of["hlt", vcpu] for vcpu in (0, 1)) == [4, 32]
    assert found.reasons["io"] == 2 * (4 * 9 + 1)
    became = Counter((exit_.reason, exit_.kind) for exit_ in found.exits)
    # The ports of user space and memory that is not there go on to user space; a doorbell never does.
    assert became["io", "user"] == 2 * (4 + 1)
    assert became["npf", "user"] == 2 * 4
    assert became["hlt", "sched"] >= 30
    assert {exit_.cpu for exit_ in found.exits} == {0, 1}


def test_the_plugin_for_kvm_changes_names_and_nothing_else():
    with_plugin, without = (read(FOLDER / name).exits for name in ("trace-cmd.txt", "trace-cmd-N.txt"))
    assert [exit_[1:] for exit_ in with_plugin] == [exit_[1:] for exit_ in without]
    assert {a.reason: b.reason for a, b in zip(with_plugin, without, strict=True)}["ioio"] == "io"


# -- the rule, line by line


def line(task, event, what="", cpu=0, time=1.0):
    return f"{task:>20}    [{cpu:03}] {time:11.6f}: {event}: {what}\n"


def exit_of(task, reason="msr", **where):
    return line(task, "kvm_exit", f"reason EXIT_{reason.upper()} rip 0x1 info 0 0", **where)


LEAVES = {"user": "kvm_userspace_exit", "sched": "sched_switch"}


@pytest.mark.parametrize("kind", LEAVES)
def test_an_exit_is_what_its_own_thread_does_next(kind):
    text = (
        exit_of("CPU 0/KVM-9") + line("other-7", LEAVES[kind]) + exit_of("CPU 0/KVM-9", "hlt")
        + line("CPU 0/KVM-9", LEAVES[kind]) + exit_of("CPU 0/KVM-9")
    )  # fmt: skip
    found = parse(text)
    assert found.exits == (Exit("msr", "kernel", 0, 0), Exit("hlt", kind, 0, 0))
    assert found.notes[-1] == "What became of the last 1 exit is not in it; left out."


def test_the_host_is_given_back_once_however_often_the_thread_sleeps_after():
    again = line("a-1", "sched_switch") + line("a-1", "kvm_userspace_exit") + line("a-1", "sched_switch")
    found = parse(exit_of("a-1") + again + exit_of("a-1") + line("a-1", "kvm_userspace_exit"))
    assert [exit_.kind for exit_ in found.exits] == ["sched", "user"]


def test_cpus_and_vcpus_are_numbered_as_they_appear():
    text = "".join(
        exit_of(task, cpu=cpu) + line(task, "sched_switch", cpu=cpu)
        for task, cpu in [("CPU 3/KVM-77", 64), ("CPU 0/KVM-12", 5), ("CPU 3/KVM-77", 5)]
    )
    assert [exit_.word for exit_ in parse(text).exits] == ["sched", "sched@1#1", "sched@1"]


def test_a_recording_without_one_of_the_two_events_says_that_the_share_may_be_too_low():
    found = parse(exit_of("a-1") + line("a-1", "sched_switch"))
    assert found.notes == ("No kvm_userspace_exit in it: if it was not recorded, the share f is too low.",)


def test_a_table_does_not_tell_the_share():
    with pytest.raises(RecordingError, match=r"not the share f .* give f yourself .*host_state_reload"):
        _ = read(FOLDER / "perf.txt").share


# -- what is refused


def cut(name, at):
    """Cut a recording in the middle of its line `at`."""
    lines = TEXT[name].splitlines(keepends=True)
    return "".join(lines[: at - 1]) + lines[at - 1][: len(lines[at - 1]) // 2]


def without(name, pattern):
    """Take the lines that match out of a recording."""
    return re.sub(f".*{pattern}.*\\n", "", TEXT[name])


RAW = line("a-1", "kvm_exit", " exit_reason=124 guest_rip=0x1")
SWITCH = line("b-1", "sched_switch")
REFUSED = {
    "nothing": ("", "line 1: neither a table of perf nor"),
    "another format": ("\n\na,b\n1,2\n", "line 3: neither a table .*'a,b'"),
    "accesses": (TEXT["perf-ioport.txt"], "line 5: a table of IO Port Access.* leave --event out"),
    "half a row": (cut("perf.txt", 8), "line 8: .*only a part of one; print the table again"),
    "half a table": (cut("perf.txt", 10) + "\n\n", "line 10: .*only a part"),
    "no totals": (without("perf.txt", "Total"), r"line 1\d: the table ends here without its line of totals"),
    "a row missing": (without("perf.txt", "cpuid"), r"line 14: the rows above make \d+, so some are missing"),
    "two tables": (TEXT["perf.txt"] * 2, "line 2\\d: a second table; leave one"),
    "half a line": (cut("trace-cmd.txt", 300), "line 300: cut off in the middle"),
    "half a line that ends": (cut("trace-cmd.txt", 300) + "\n", "line 300: .*print it"),
    "half a line of tracefs": (cut("tracefs.txt", 400), "line 400: cut off in the middle"),
    "lost": (exit_of("a-1") + "CPU:1 [LOST 12 EVENTS]\n", "line 2: events were lost here.*larger buffers"),
    "-R": (RAW, "line 1: kvm_exit without its reason.*-R"),
    "no exit": (SWITCH, "line 1: no kvm_exit up to here; record with trace-cmd"),
    "no put": (exit_of("a-1") * 2, "line 2: neither kvm_userspace_exit nor sched_switch"),
    "one exit": (SWITCH + exit_of("a-1"), "line 2: no thread left its guest twice"),
}


@pytest.mark.parametrize("text,told", REFUSED.values(), ids=REFUSED)
def test_what_is_no_whole_recording_is_told_by_its_line(text, told):
    with pytest.raises(RecordingError, match=f"^{told}") as error:
        parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "start,told", [(b"PERFILE2\0", "perf kvm -i"), (b"\x17\x08Dtracing6\0", "trace-cmd report -i")]
)
def test_a_recording_that_was_not_printed_is_told_how_to_print_it(start, told, tmp_path):
    file = tmp_path / "x.dat"
    file.write_bytes(start)
    with pytest.raises(RecordingError, match=f"x.dat is the recording itself, not its text: {told} "):
        read(file)


def test_a_file_is_named_in_front_of_its_line(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("hello\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=r"mine\.txt, line 1: "):
        read(file)


def test_every_cut_of_a_recording_is_noticed_or_reads_as_the_shorter_one_that_it_is():
    """Never as something else: what is left of a vCPU's exits are the first ones of all."""
    text = TEXT["tracefs.txt"]

    def of_each(part):
        exits = parse(part).exits
        return [[exit_ for exit_ in exits if exit_.vcpu == vcpu] for vcpu in (0, 1)]

    whole = of_each(text)
    ends = [match.end() for match in re.finditer("\n", text)]
    started = text.index("kvm_exit: vcpu 1 reason msr")
    for end in [end for end in ends if end > started][5::25]:
        shorter = of_each(text[:end])
        assert all(some == every[: len(some)] for some, every in zip(shorter, whole, strict=True))
        with pytest.raises(RecordingError, match="cut off in the middle"):
            parse(text[: end - 9])


# -- the driver, as far as it goes without a kernel


def test_the_recordings_were_made_by_the_commands_that_are_there_now():
    assert TEXT["about.txt"].endswith(f"What ran in it:\n\n{exits.COMMANDS}")
    sent = set(re.findall(r"^send (\S+) ", exits.COMMANDS, flags=re.MULTILINE))
    assert sent | {"about.txt"} == {path.name for path in FOLDER.iterdir()}


def test_files_and_counters_come_apart_byte_for_byte():
    sent = b"counter exits 7\ncounter puts 2\nfile a.txt 9\nfile b 1\nfile c 0\n"
    sent += b"counter exits 9\nfile d 1\n\ndone\n"
    counters, files = exits._handed_over(sent)
    assert files == {"a.txt": b"file b 1\n", "c": b"", "d": b"\n"}
    assert counters == {"a.txt": "exits 7 puts 2", "d": "exits 9"}


def test_an_archive_of_a_folder_has_every_file_after_its_folder(tmp_path):
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/x").write_bytes(b"12345")
    data = kernel.archive(tmp_path / "root", tmp_path / "initramfs").read_bytes()
    starts = [match.start() for match in re.finditer(b"070701", data)]
    names = [data[start + 110 :].partition(b"\0")[0] for start in starts]
    assert names == [b"usr", b"usr/bin", b"usr/bin/x", b"TRAILER!!!"]
    assert all(start % 4 == 0 for start in starts)


@pytest.mark.parametrize("program,package", exits.TOOLS.items())
def test_a_tool_that_is_missing_is_said_with_its_package(program, package, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(qemu, "version", lambda: "7.2")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == program else f"/usr/bin/{name}")
    assert exits.main([str(tmp_path / "out")]) == 1
    told = f"no {program} on PATH: install it (on Debian 12: apt install {package})\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "out").exists()
