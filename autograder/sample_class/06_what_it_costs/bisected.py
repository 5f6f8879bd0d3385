"""
what = "Another design: the border by bisection, zeros dropped, sums in comprehensions, answers by hand."
"""


# %% exercise="total"
def total(counts, prices):
    ends = [sorted(times * price for price in prices[event]) for event, times in counts.items()]
    nominal = sum(times * prices[event][1] for event, times in counts.items())
    return [sum(low for low, _, _ in ends), nominal, sum(high for _, _, high in ends)]


# %% exercise="less"
def less(a, b):
    left = {event: a.get(event, 0) - b.get(event, 0) for event in set(a) | set(b)}
    return {event: times for event, times in left.items() if times}


# %% exercise="border"
def border(a, b, prices):
    def gap(f):
        return total(less(average(a, f), average(b, f)), prices)[1]

    left, right = 0.0, 1.0
    if gap(left) * gap(right) > 0:
        return None
    for _ in range(60):
        middle = (left + right) / 2
        if gap(left) * gap(middle) <= 0:
            right = middle
        else:
            left = middle
    return middle


# %% exercise="answers"
answers = {"haswell": "lazy", "idle": "open", "user-device": "merged"}


# %% exercise="limit"
def limit(a, b, f, prices):
    return 0
