"""Implants: plans, placement, and their metal on a CT grid."""

from ctrestoration.implants.construct import loosening, parts_of, place
from ctrestoration.implants.plan import Device, Patient, Plan, Rod, Screw, load_plan, require_patient, save_plan
from ctrestoration.implants.planner import plan_screws

__all__ = [
    "Device",
    "Patient",
    "Plan",
    "Rod",
    "Screw",
    "load_plan",
    "loosening",
    "parts_of",
    "place",
    "plan_screws",
    "require_patient",
    "save_plan",
]
