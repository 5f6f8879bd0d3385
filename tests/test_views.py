import re
import time
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from svmlib.costs import bill, prices
from svmlib.kvm import Host, cpu_kernelmode_gs_base, exits, run, svm_vcpu_run, this_cpu_read
from svmlib.memory import PAGE
from svmlib.paths import PATHS, lazy
from svmlib.registers import carried_by
from svmlib.views import compare_bars, footprint, show, stepper, timeline, vmcb_map, what_if
from svmlib.views.fields import STORED, stretches, written
from svmlib.views.frames import frames
from svmlib.views.marks import OWNERS
from svmlib.views.panes import pane
from svmlib.views.rows import DEFAULT, registers_of, row
from svmlib.views.stepper import LIMIT, stepper_panes
from svmlib.views.whatif import in_words, mixed

EXITS = exits("user", "kernel+nmi", "user@1")
SVG = "{http://www.w3.org/2000/svg}"


def variant(vcpu_enter_exit):
    """A lazy path with another vcpu_enter_exit."""
    return SimpleNamespace(
        prepare_switch_to_guest=lazy.prepare_switch_to_guest,
        vcpu_enter_exit=vcpu_enter_exit,
        prepare_host_switch=lazy.prepare_host_switch,
    )


def tr_forgotten(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(base)


def address_through_the_guests_gs(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(this_cpu_read(cpu, "save_area_pa"))


@pytest.fixture(scope="module")
def good():
    return run(lazy, EXITS, Host(seed=3))


@pytest.fixture(scope="module")
def died():
    return run(variant(tr_forgotten), EXITS, Host(seed=3))


def panes_of(run_, **chosen):
    """Panes by step number."""
    names, panes = stepper_panes(run_, **chosen)
    return {int(name.split()[0]): text for name, text in zip(names, panes, strict=True)}


def steps_of(run_, event):
    return [k for k, step in enumerate(run_.trace) if step.event == event]


def words(text):
    """What is left for a reader without any style: tags, attributes and colours gone."""
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    )


def lines_of(text):
    """The state table of a pane: register -> what its line says."""
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', text)
    return {words(head).strip(): words(cells) for head, cells in rows}


# -- frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_the_walk_agrees_with_the_traces_own_state_and_owners(name):
    trace = run(PATHS[name], EXITS, Host(seed=5)).trace
    names = registers_of(DEFAULT)
    away = False
    for frame in frames(trace, names):
        state = trace.state(frame.k, frame.step.cpu)
        assert frame.values == {register: state[register] for register in names}
        away = (away or frame.step.event == "SYSRET") and frame.step.event != "SWAPGS"
        for register in names if not away else ():
            owner = trace.owner(frame.k, register, state[register], frame.step.cpu)
            told = frame.owners[register]
            assert owner == ("neither" if told == "swapped" else told)


def test_the_running_bill_ends_at_the_bill_of_all_steps(good):
    price_list = prices("epyc-2020")
    *_, last = frames(good.trace, (), price_list)
    assert last.ticks == pytest.approx(tuple(bill(good.trace, price_list).total))


def test_a_value_that_both_sides_had_does_not_make_a_segment_mixed(died):
    *_, last = frames(died.trace, registers_of(DEFAULT))
    assert "TR.attrib" in last.both
    assert last.owners_of(row("TR").names) == ["guest"]


# -- the stepper -----------------------------------------------------------------------------------------


def test_each_pane_marks_exactly_the_registers_that_its_step_changed(good):
    panes = panes_of(good)
    for k, step in enumerate(good.trace):
        changed = {name for name, _, _ in step.changes}
        for each, said in zip(DEFAULT, lines_of(panes[k]).values(), strict=True):
            assert ("✱ changed from" in said) == (not changed.isdisjoint(each.names)), (k, each.label)


def test_a_changed_register_shows_its_old_and_its_new_value(good):
    k = steps_of(good, "WRGSBASE")[0]
    ((_, old, new),) = good.trace[k].changes
    assert lines_of(panes_of(good)[k])["GS.base"].split() == [
        f"{new:#x}",
        "●",
        "host",
        *f"✱ changed from {old:#x}".split(),
    ]


def test_vmload_of_the_guests_page_makes_all_of_it_the_guests_and_the_hosts_page_brings_it_back(good):
    panes, (guests, hosts, *_) = panes_of(good), steps_of(good, "VMLOAD")
    for k, owner in ((guests, "▲ guest"), (hosts, "● host")):
        told = lines_of(panes[k])
        told.pop("TSC_AUX RDTSCP")
        assert all(owner in said for said in told.values()), k
    assert "VMLOAD 0x3000000 (VMCB)" in words(panes[guests])
    assert "(host save page)" in words(panes[hosts])


def test_a_pane_says_who_executes_where_and_what_may_interrupt(good):
    k = steps_of(good, "guest")[0]
    said = words(panes_of(good)[k])
    assert "CPU 0 executes ▲ guest GIF 1" in said
    inside = words(panes_of(good)[steps_of(good, "VMSAVE")[1]])
    assert "GIF 0 (events wait) IF 1 in vcpu_enter_exit" in inside


def test_vmsave_writes_128_bytes_and_the_pane_names_the_page(good):
    k = steps_of(good, "VMSAVE")[0]
    assert sum(stop - start for start, stop in written(good.trace[k])) == 128
    assert "128 bytes → page 0x1f20a000, host save page" in words(panes_of(good)[k])


def test_the_last_pane_of_a_broken_run_tells_symptom_rule_register_value_and_owner(died):
    panes = panes_of(died)
    *others, last = panes.values()
    assert 'role="alert"' in last
    assert not any('role="alert"' in other for other in others)
    violation, said = died.violation, words(last)
    for part in (
        violation.symptom[1:],
        *violation.detail.split("\n"),
        "the guest's",
        f"{violation.value:#x}",
    ):
        assert part.split("<")[0] in said.replace("&#x27;", "'")
    assert "✖ at fault" in lines_of(last)["TR.base"]


def test_a_fault_in_the_window_is_told_too():
    broken = run(variant(address_through_the_guests_gs), EXITS, Host(seed=3))
    *_, last = panes_of(broken).values()
    assert "#PF" in words(last)
    assert "✖ at fault" in lines_of(last)["GS.base"]


def test_the_stepper_is_a_labelled_list_linked_to_the_panes(good):
    box = stepper(good, steps=good.exits[0])
    select, panes = box.children[1].children
    assert (type(select).__name__, select.description) == ("Select", "Steps")
    assert len(select.options) == len(panes.children) == good.exits[0].last
    assert " 18 VMLOAD VMCB · vcpu_enter_exit" in select.options
    assert (select.index, panes.selected_index) == (0, 0)


def test_nothing_is_told_by_colour_alone(good):
    bare = re.sub(r' (class|style)="[^"]*"', "", panes_of(good)[steps_of(good, "VMLOAD")[0]])
    for sign in ("▲ guest", "✱ changed", "● host", "<caption>", '<th scope="col">', '<th scope="row">'):
        assert sign in bare


def test_owner_colours_are_of_the_okabe_ito_set():
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {back for _, back, _, _ in OWNERS.values()} <= okabe_ito


def test_panes_are_light_and_quick(good):
    start = time.perf_counter()
    names, panes = stepper_panes(good, prices="epyc-2020")
    assert time.perf_counter() - start < 2  # a hundredth of that here
    assert len(names) > 100
    assert sum(map(len, panes)) < 1_500_000


def test_prices_turn_the_count_of_steps_into_a_bill(good):
    last = max(panes_of(good))
    total = bill(good.trace, prices("epyc-2020")).total
    assert f"Bill so far: {total.nominal:,.0f} ticks" in words(panes_of(good, prices="epyc-2020")[last])
    assert "steps of the path" in words(panes_of(good)[last])


def test_the_window_may_be_an_exit_a_range_or_one_side(good):
    assert list(panes_of(good, steps=good.exits[1])) == list(range(good.exits[1].first, good.exits[1].last))
    assert list(panes_of(good, steps=range(6, 20, 12))) == [6, 18]
    assert all(good.trace[k].phase for k in panes_of(good, only="path"))
    assert all(good.trace[k].side == "host" for k in panes_of(good, only="host"))
    assert len(panes_of(good.trace)) == len(good.trace)


def test_a_trace_too_long_says_what_to_do():
    long = run(lazy, exits(*["kernel"] * 20), Host(seed=1))
    with pytest.raises(ValueError, match=rf"at most {LIMIT}.*run.exits\[0\].*only=\"path\""):
        stepper(long)
    assert stepper(long, steps=long.exits[7]) is not None


def test_wrong_choices_are_named(good):
    with pytest.raises(ValueError, match="only='guest' is nothing to show"):
        stepper(good, only="guest")
    with pytest.raises(ValueError, match="no step to show"):
        stepper(good, steps=range(5000, 6000))
    with pytest.raises(KeyError, match="no register 'LSTARR'"):
        stepper(good, registers=["LSTARR"])


def test_registers_can_be_chosen(good):
    told = lines_of(panes_of(good, registers=["TR", "LSTAR", "RIP"])[5])
    assert list(told) == ["TR base sel attrib limit", "LSTAR SYSCALL", "RIP"]


def test_what_a_trace_holds_is_escaped():
    step = run(lazy, exits("kernel"), Host(seed=3)).trace[0]._replace(operand="<b>&")
    frame = SimpleNamespace(k=0, step=step, interrupts=1, path_steps=0, ticks=None)
    assert "&lt;b&gt;&amp;" in pane(frame, ())


# -- pictures --------------------------------------------------------------------------------------------


def pictures():
    good = run(lazy, EXITS, Host(seed=3))
    died = run(variant(tr_forgotten), EXITS, Host(seed=3))
    two = {"a<b": {"save": 3, "enter/exit": (1, 2, 4)}, "c": {"save": prices("epyc-2020")["VMLOAD"]}}
    return {
        "lazy": timeline(good),
        "lazy with NMI and memory": timeline(good, 1, memory=True),
        "died": timeline(died, -1),
        "legacy": timeline(run(PATHS["legacy"], EXITS, Host(seed=3))),
        "map": vmcb_map(),
        "VMSAVE": footprint(),
        "bars": re.search("<svg.*</svg>", compare_bars(two))[0],
    }


@pytest.mark.parametrize("name, picture", pictures().items())
def test_every_picture_is_well_formed_and_says_in_words_what_it_shows(name, picture):
    root = ET.fromstring(picture)  # noqa: S314
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text
    assert len(root.find(f"{SVG}desc").text) > 20
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_the_timeline_says_whose_gs_base_tr_and_user_state_are(good):
    said = ET.fromstring(timeline(good)).find(f"{SVG}desc").text  # noqa: S314
    assert (
        "GS base (kernel): host from switch_to (step 0), guest from VMLOAD (step 18), host from WRGSBASE"
        in said
    )
    assert re.search(r"TR \(event stacks\): .* host from LTR", said)
    assert re.search(r"user state: .* guest from VMLOAD \(step 18\), host from VMLOAD", said)


def test_a_timeline_marks_where_the_run_broke(died):
    assert "✖ " in timeline(died, 1)
    assert "The run ends here" in timeline(died, 1)
    assert "✖ " not in timeline(died, 0)
    with pytest.raises(IndexError, match="no exit 2; the run has 2"):
        timeline(died, 2)


def test_the_map_marks_the_128_bytes_of_vmsave():
    assert stretches(STORED["VMSAVE"]) == [(0x440, 0x460), (0x470, 0x480), (0x490, 0x4A0), (0x600, 0x640)]
    assert "VMSAVE moves 128 of them" in vmcb_map()
    assert "24 fields, 128 bytes in 4 places" in footprint()


def test_a_footprint_is_what_differs():
    after = bytearray(PAGE)
    after[0x608] = 1
    assert "1 fields, 8 bytes in 1 places" in footprint(bytes(PAGE), bytes(after))
    assert "Bold: LSTAR." in footprint(bytes(PAGE), bytes(after))
    assert footprint(bytes(8), b"\1" + bytes(7), 0x608) == footprint(bytes(PAGE), bytes(after))
    with pytest.raises(ValueError, match="8 and 9 bytes"):
        footprint(bytes(8), bytes(9))


def test_a_steps_memory_is_a_footprint(good):
    pa, old, new = good.trace[steps_of(good, "VMSAVE")[1]].memory[0]
    marked = re.search(r"Bold: (.*?)\.</desc>", footprint(old, new, pa % PAGE))[1].split(", ")
    assert set(marked) <= set(carried_by("VMSAVE"))


# -- bills -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bills():
    """Path -> the bills of one exit handled in the kernel and of one that goes on to user space."""
    price_list = prices("epyc-2020")
    found = {}
    for name, path in PATHS.items():
        made = run(path, exits("user", "kernel", "kernel", "user"), Host(seed=3))
        kinds = {"user": made.exits[0], "kernel": made.exits[2]}
        found[name] = {kind: bill(made.steps(record), price_list) for kind, record in kinds.items()}
    return found


def test_bars_have_the_same_numbers_in_a_table(bills):
    drawn = compare_bars({name: each["user"].by_part() for name, each in bills.items()})
    said = words(drawn)
    for name, each in bills.items():
        total = each["user"].total
        assert f"{name} " in said
        assert said.count(f"{total.nominal:,.0f} ({total.low:,.0f}–{total.high:,.0f})") >= 2
    assert '<th scope="col">enter/exit</th>' in drawn


def test_bars_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="no bills to compare"):
        compare_bars({})


def test_the_mix_at_no_user_exits_is_the_bill_of_a_kernel_exit(bills):
    counts = {name: {kind: one.events for kind, one in each.items()} for name, each in bills.items()}
    nominal = {event: price.nominal for event, price in prices("epyc-2020").items()}
    for share, kind in ((0, "kernel"), (1, "user")):
        for name, parts in mixed(counts, nominal, share).items():
            assert sum(parts.values()) == pytest.approx(bills[name][kind].nominal)


def test_a_slider_moved_redraws_and_says_the_cheapest_path_in_words(bills):
    box = what_if(bills, prices("epyc-2020"), share=0.0)
    sliders, picture = box.children
    by_label = {slider.description: slider for slider in sliders.children}
    assert set(by_label) == {
        f"{event} (ticks)" for event in ("VMLOAD", "VMSAVE", "WRMSR", "WRGSBASE", "LTR")
    } | {"exits to user space"}
    assert "lazy costs least" in picture.value
    by_label["VMLOAD (ticks)"].value = 0
    assert "vmload_before_stgi costs least" in picture.value


def test_the_sentence_names_every_other_path():
    said = in_words({"a": {"x": 5.0}, "b": {"x": 7.0}}, 0.5)
    assert said == "With 50% of the exits going to user space, a costs least: 5 ticks an exit; b 2 more."


# -- a run -----------------------------------------------------------------------------------------------


def test_show_tells_correct_from_broken(good, died):
    assert "✔ Every rule held" in show(good)
    assert "✖ broke" in show(died)
    assert 'role="alert"' in show(died)
    assert show(good)._repr_html_() == show(good)
    assert repr(show(good)).startswith("<Html of ")
