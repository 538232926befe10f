"""Kernels of customers and their vehicles: calendar months, histories, odometers, services due."""
