# %% [markdown] difficulty="easy" minutes=5
# # 1 · Swap
# The smallest exercise that has one cell of every kind.

# %%
import os

seed = int(os.environ.get("SVMLIB_SEED", "1"))


# %% exercise="swap"
def swap(a, b):
    """Both, exchanged."""
    # BEGIN SOLUTION
    return b, a
    # END SOLUTION


# %% points=2 test="swap"
assert swap(1, 2) == (2, 1), "1, 2 did not come back as 2, 1"
print("1, 2 came back as 2, 1")
# BEGIN HIDDEN TESTS
assert swap(seed, 0) == (0, seed)
# END HIDDEN TESTS

# %% points=1 test="words"
assert swap("a", "b") == ("b", "a")
# BEGIN HIDDEN TESTS
assert swap("c", "d") == ("d", "c")
# END HIDDEN TESTS

# %% bonus=1 expect=0.5 test="arguments"
swap(1, 2)
# BEGIN HIDDEN TESTS
0.5 * (swap.__code__.co_argcount == 2) + 0.5 * (swap.__code__.co_flags & 4 > 0)
# END HIDDEN TESTS

# %% [markdown]
# **Question.** Why does a swap need two values?

# %% [markdown] points=2 answer="why"
# One value has nothing to be exchanged with.
#
# <!-- BEGIN MARK SCHEME -->
# - 1 point: it says what is exchanged
# - 1 point: it says with what
# <!-- END MARK SCHEME -->
