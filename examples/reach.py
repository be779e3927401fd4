"""Reach a goal with a trained controller: python examples/reach.py runs/demo/<time>"""

import sys

from loopwm_robot.build import load_agent

agent, env = load_agent(sys.argv[1])
obs, info = env.reset(seed=1)
agent.reset(obs["desired_goal"])
for step in range(60):
    obs, reward, terminated, truncated, info = env.step(agent.act(obs["observation"]))
    print(f"{step * env.unwrapped.ctrl_dt:4.2f} s  {100 * info['distance']:5.1f} cm to the goal")
