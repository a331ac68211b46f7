"""Implants: plans, placement, and their metal on a CT grid."""

from ctrestoration.implants.plan import Plan, Rod, Screw, load_plan, save_plan
from ctrestoration.implants.planner import plan_screws
from ctrestoration.implants.voxelize import place

__all__ = ["Plan", "Rod", "Screw", "load_plan", "place", "plan_screws", "save_plan"]
