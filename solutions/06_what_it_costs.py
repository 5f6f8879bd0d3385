# %% [markdown] difficulty="moderate" minutes=50
# # 6 · What it costs, and for whom
#
# At the end you will have computed a bill with its uncertainty, the border between two paths, and the
# probability of being right, and you will have decided for three hosts which path to run.
#
# Why it matters: in December 2020 one path was chosen over another. The evidence was two samples of each
# on a processor that nobody named. You have the same evidence, and better arithmetic.
#
# 20 points: 16 by tests, 4 for a written answer. 2 bonus points beside them. The tests answer at once;
# grading repeats them on other price lists and other paths.

# %% [markdown]
# First a look at the kernel that runs this notebook: is the library there, and is it the right one?

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None
check.begin("06_what_it_costs", svmlib="0.1.0")

# %% [markdown]
# **What you get.** All of it is plain Python. A **path** is a dict with two **counts**, of an exit that
# the kernel handles and of one that reaches vcpu_put: how often each event happens. What every path pays,
# VMRUN first of all, is left out.

# %%
from svmlib import audit

hint = check.hint  # after a failed check, hint() tells more
lazy, merged = audit.counts("lazy"), audit.counts("merged")
print("lazy, kernel:", lazy["kernel"])
print("lazy, user:  ", lazy["user"])

# %% [markdown]
# A **price list** gives ticks for each event, as an interval: low, nominal, high.

# %%
prices = audit.price_list("epyc-2020")
for event in ("VMLOAD", "WRGSBASE", "WRMSR", "LTR"):
    print(f"{event:10}", prices[event])

# %% [markdown]
# The functions of `svmlib.costs` do what you are asked for here. Write your own; the checks look.
#
# ## Step 1: a bill
#
# A bill is a sum of counts times prices, and an interval like them. One thing needs care: counts may be
# negative, for you will price the *difference* of two paths. What does one VMLOAD *less* cost at its
# lowest, if VMLOAD costs 48 to 80?


# %% exercise="total"
def total(counts, prices):
    """Return (low, nominal, high) in ticks; counts may be negative."""
    ### BEGIN SOLUTION
    low = nominal = high = 0
    for event, times in counts.items():
        cheap, usual, dear = prices[event]
        if times < 0:
            cheap, dear = dear, cheap
        low += times * cheap
        nominal += times * usual
        high += times * dear
    return low, nominal, high
    ### END SOLUTION


# %% [markdown]
# The test has every path's bills, and counts below zero. 2 points.

# %% points=2 test="total"
audit.bills(total)
### BEGIN HIDDEN TESTS
audit.bills(total, name="06 total")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 2: an exit on average
#
# Of a host's exits a share f reaches vcpu_put, because the thread goes to user space or is scheduled out.
# An exit that does is `path["user"]`, and that is all of it: it comes *instead* of `path["kernel"]`.


# %% exercise="average"
def average(path, f):
    """Return the counts of one exit on average, event -> times, where a share f reaches vcpu_put."""
    ### BEGIN SOLUTION
    kernel, user = path["kernel"], path["user"]
    return {event: (1 - f) * kernel.get(event, 0) + f * user.get(event, 0) for event in {**kernel, **user}}
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="average"
audit.averages(average)
### BEGIN HIDDEN TESTS
audit.averages(average, name="06 average")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 3: a difference
#
# Both paths execute LTR on every exit, and nobody knows what an LTR costs. Does that make their
# difference unknown? Subtract the counts first, and price what is left.


# %% exercise="less"
def less(a, b):
    """Return the counts of a less those of b, event -> times."""
    ### BEGIN SOLUTION
    return {event: a.get(event, 0) - b.get(event, 0) for event in {**a, **b}}
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="less"
audit.differences(less)
### BEGIN HIDDEN TESTS
audit.differences(less, name="06 less")
### END HIDDEN TESTS

# %% [markdown]
# Look at what you have gained: the difference of the bills as two intervals, and the bill of the
# difference.

# %%
a, b = total(lazy["kernel"], prices), total(merged["kernel"], prices)
print("two bills:    ", a, "and", b)
print("subtracted:   ", (a[0] - b[2], a[1] - b[1], a[2] - b[0]))
print("counts first: ", total(less(lazy["kernel"], merged["kernel"]), prices))

# %% [markdown]
# ## Step 4: the border
#
# The difference of two paths is a straight line in f. Where does it cross zero, with nominal prices? If
# it does not between 0 and 1, one path always wins, and there is no border.


# %% exercise="border"
def border(a, b, prices):
    """Return the share f at which paths a and b cost the same, nominally; None if there is none."""
    ### BEGIN SOLUTION
    at_0, at_1 = (total(less(a[kind], b[kind]), prices)[1] for kind in ("kernel", "user"))
    if at_0 == at_1:
        return None
    f = at_0 / (at_0 - at_1)
    return f if 0 <= f <= 1 else None
    ### END SOLUTION


# %% [markdown]
# 3 points.

# %% points=3 test="border"
audit.borders(border)
### BEGIN HIDDEN TESTS
audit.borders(border, name="06 border")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 5: how sure is that?
#
# A **draw** is one way the world could be: a number of ticks for each event, somewhere in its interval.
# In how many of the draws is path a the cheaper one? In one draw both paths pay the same price for the
# same event.


# %% exercise="chance"
def chance(a, b, f, draws):
    """Return the share of the draws (dicts, event -> ticks) in which an average exit of a costs less."""
    ### BEGIN SOLUTION
    gap = less(average(a, f), average(b, f))
    cheaper = sum(sum(times * draw[event] for event, times in gap.items()) < 0 for draw in draws)
    return cheaper / len(draws)
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="chance"
audit.chances(chance)
### BEGIN HIDDEN TESTS
audit.chances(chance, name="06 chance")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 6: three hosts
#
# Two of them were counted, on Intel machines; the third is assumed, and so is the first one's rate.

# %%
for name, host in audit.hosts().items():
    print(f"{name:12} f = {host['f']:<6} {host['per_second']:>9,.0f} exits a second: {host['is']}")

# %% [markdown]
# Decide when you are sure, and say so when you are not: "a" where a is cheaper with a probability of 95 %
# or more, "b" where b is, else "open".


# %% exercise="decide"
def decide(a, b, f, draws):
    """Return "a", "b" or "open"."""
    ### BEGIN SOLUTION
    sure = chance(a, b, f, draws)
    if sure >= 0.95:
        return "a"
    return "b" if sure <= 0.05 else "open"
    ### END SOLUTION


# %% [markdown]
# Now answer for the three hosts: "lazy", "merged" or "open", on `epyc-2020` and with the paths as they
# were in 2020.

# %% exercise="answers"
answers = {"haswell": "", "idle": "", "user-device": ""}
### BEGIN SOLUTION
draws = audit.draws()
for name, host in audit.hosts().items():
    found = decide(lazy, merged, host["f"], draws)
    answers[name] = {"a": "lazy", "b": "merged", "open": "open"}[found]
### END SOLUTION

# %% [markdown]
# The test has your function and your answers. 3 points.

# %% points=3 test="decide"
audit.decisions(decide, answers)
### BEGIN HIDDEN TESTS
audit.decisions(decide, name="06 decide")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 7: is it worth an argument?
#
# What does it come to: a number of ticks, so many times a second, on a processor whose counter runs at so
# many MHz, in percent of one core?


# %% exercise="load"
def load(ticks, per_second, mhz):
    """Return percent of a core."""
    ### BEGIN SOLUTION
    return 100 * ticks * per_second / (mhz * 1e6)
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="load"
audit.loads(load)
### BEGIN HIDDEN TESTS
audit.loads(load, name="06 load")
### END HIDDEN TESTS

# %% [markdown]
# Your numbers for the three hosts. The clock of the measured machine was probably 1,600 MHz: its counter
# moved in steps of 16.

# %%
for name, host in audit.hosts().items():
    low, nominal, high = total(less(average(lazy, host["f"]), average(merged, host["f"])), prices)
    percent = load(nominal, host["per_second"], 1600)
    ticks = f"{nominal:+.0f} ticks ({low:+.0f} to {high:+.0f})"
    print(f"{name:12} lazy less merged: {ticks}, {percent:+.3f} % of a core")

# %% [markdown]
# ## Bonus: what an LTR may cost
#
# Since 2023 the merged path does without LTR, and the lazy one cannot. What an LTR costs nobody has
# published. At which price of LTR do two paths cost the same, all other prices nominal? Below it the lazy
# path would win even today. 2 bonus points.

# %% exercise="limit"
since_2023 = audit.counts("merged since 2023")


def limit(a, b, f, prices):
    """Return the ticks of one LTR at which paths a and b cost the same at f; other prices are nominal."""
    ### BEGIN SOLUTION
    gap = less(average(a, f), average(b, f))
    times = gap.pop("LTR")
    return -total(gap, prices)[1] / times
    ### END SOLUTION


# %% bonus=2 expect=2 test="limit"
### BEGIN HIDDEN TESTS
hidden = audit.limits(limit, name="06 limit", points=2)
### END HIDDEN TESTS
audit.limits(limit, points=2)

# %% [markdown]
# ## In your own words
#
# In December 2020 the path with VMLOAD before STGI was merged and the lazy one was not. **Defend the
# decision or overturn it.** Say in ten sentences or fewer:
#
# 1. for which of the three hosts it was right by the numbers, and how sure that is;
# 2. what the difference is worth there, in ticks and in percent of a core;
# 3. which one number, if somebody measured it, could change your mind, and how far from today's it would
#    have to be;
# 4. one reason that is no number.
#
# 4 points, marked by hand.

# %% [markdown] points=4 answer="decision"
# <!-- BEGIN SOLUTION -->
# By the numbers the decision was wrong for the Haswell host: at f = 0.059 lazy costs some 21 ticks less an
# exit, and it does so in practically every draw. For the idle guest, at f = 0.486, the question is open: the
# merged path is 8 ticks better nominally, and lazy still wins in about one draw of eight. Where user space
# serves every doorbell, f = 0.9, merged is better by some 35 ticks, surely. The border lies at f = 0.37, and
# from the samples alone anywhere between 0.2 and 0.5.
#
# What it is worth: 21 ticks at 100,000 exits a second are 2.1 million ticks a second, 0.13 % of a core at
# 1,600 MHz; at the idle guest's thousand exits nothing that could be measured. All of it rests on two samples
# of each path on one CPU without a name.
#
# The number I would ask for is VMLOAD alone on that machine. Timed directly, on another one and inside a
# guest, it was 270 and not 64. With 270 lazy would save over 200 ticks on every exit, more than the 100 that
# the review had asked for, and I would overturn the decision of 2020. Since 2023 LTR is the other one: lazy
# would win again only below some 17 to 21 ticks, and its price is assumed at 20 to 300.
#
# I defend the decision. A tenth of a percent of a core does not pay for a host that runs on with the guest's
# registers after STGI: every later piece of code would have to know which ones. And it opened the way to
# dropping LTR, which lazy cannot follow.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: the three hosts with their signs and how sure each is: haswell lazy (nearly certain), idle
#   open, user-device merged (nearly certain); or the border near 0.37 with an interval.
# - 1 point: the size of it in ticks *and* in percent of a core with the arithmetic; about 20 ticks, about a
#   tenth of a percent, on the learner's own numbers.
# - 1 point: one quantity that nobody has measured well (VMLOAD or VMSAVE alone, LTR, a cold page, f on an AMD
#   host, the spread of runs), and a value at which the answer changes.
# - 1 point: a position with a reason that is none of the above: no guest state after STGI, simplicity, one
#   copy of the truth, what became possible in 2023. Overturning is as good as defending if it names hosts
#   and CPU for which it holds.
# <!-- END MARK SCHEME -->
