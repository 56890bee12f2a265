"""Passes of a pipeline, counted on a real scheduler."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dynaip.hosts.passes import Passes


def walk(passes, scheduler, calls, steps):
    """What each pass is told, `calls` passes a step."""
    told = []
    sample = torch.zeros(1, 4, 4)
    for timestep in scheduler.timesteps[-steps:]:
        told += [(passes.unconditional(), passes.position()) for _ in range(calls)]
        scheduler.step(sample, timestep, sample)
    return told


def schedule(steps, begin=None):
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps)
    if begin is not None:
        scheduler.set_begin_index(begin)
    passes = Passes()
    passes.follow(scheduler)
    return passes, scheduler


def test_one_pass_a_step():
    told = walk(*schedule(4), calls=1, steps=4)
    assert told == [(False, 0), (False, 0.25), (False, 0.5), (False, 0.75)]


def test_the_second_pass_of_a_step_is_unconditional():
    told = walk(*schedule(2), calls=2, steps=2)
    assert told == [(False, 0), (True, 0), (False, 0.5), (True, 0.5)]


def test_shares_are_of_the_steps_that_run():
    told = walk(*schedule(4, begin=2), calls=1, steps=2)
    assert told == [(False, 0), (False, 0.5)]


def test_a_name_says_more_than_the_count():
    passes, _ = schedule(2)
    passes.name = "cond"
    assert [passes.unconditional() for _ in range(2)] == [False, False]
    passes.name = "uncond"
    assert passes.unconditional()


def test_nothing_followed_nothing_told():
    passes = Passes()
    assert [passes.unconditional() for _ in range(2)] == [False, False]
    for ask in (passes.position, passes.done):
        with pytest.raises(ValueError, match=r"passes\.follow\(pipe\.scheduler\)"):
            ask()
