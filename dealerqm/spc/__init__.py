"""Control charts of the KPIs: p′ for shares, u′ for rates, XmR for everything else."""

from dealerqm.spc.chart import ControlCharts, control_charts
from dealerqm.spc.limits import false_alarm_chance, p_prime, u_prime, xmr

__all__ = ["ControlCharts", "control_charts", "false_alarm_chance", "p_prime", "u_prime", "xmr"]
