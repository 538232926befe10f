"""Small hand-made exports in both dialects, for the tests of the data side."""

import csv
import io
from datetime import date, datetime

import openpyxl

from dealerqm import plan

PLAN = plan.load()
KEY_BYTES = bytes(range(32))

ROWS = {
    "stores": [
        {"store_id": "S01", "name": "东店", "region": "华东", "brand": "甲", "city_tier": 1,
         "opened_on": date(2015, 1, 5)},
        {"store_id": "S02", "name": "西店", "region": "华西", "brand": "甲", "city_tier": 2,
         "opened_on": date(2016, 3, 1)},
    ],
    "staff": [
        {"staff_id": "E001", "store_id": "S01", "role": "service", "level": "junior",
         "started_on": date(2020, 1, 1), "ended_on": date(2026, 5, 31),
         "hired_on": date(2020, 1, 1)},
        {"staff_id": "E001", "store_id": "S02", "role": "service", "level": "senior",
         "started_on": date(2026, 6, 1), "hired_on": date(2020, 1, 1)},
        {"staff_id": "E002", "store_id": "S01", "role": "sales", "level": "middle",
         "started_on": date(2021, 1, 1), "hired_on": date(2021, 1, 1),
         "ended_on": date(2026, 5, 20), "left_on": date(2026, 5, 20)},
    ],
    "customers": [
        {"customer_id": "C1", "household_id": "H1", "kind": "person", "region": "华东",
         "channel": "walk_in", "created_on": date(2020, 2, 3), "birth_year": 1980,
         "consent": True, "name": "王小明", "phone": "13800138000",
         "id_number": "11010519491231002X"},
        {"customer_id": "C2", "kind": "company", "created_on": date(2021, 2, 3),
         "consent": False, "name": "某公司", "phone": "13900139000"},
    ],
    "vehicles": [
        {"vehicle_id": "V1", "customer_id": "C1", "model": "X1", "energy": "petrol",
         "sold_on": date(2020, 3, 1), "warranty_until": date(2029, 3, 1),
         "vin": "LSVAA4182E2184847", "plate": "沪A12345"},
        {"vehicle_id": "V2", "customer_id": "C2", "model": "X2", "energy": "electric",
         "sold_on": date(2021, 3, 1), "left_on": date(2026, 6, 10), "left_reason": "sold"},
    ],
    "leads": [
        {"lead_id": "L1", "customer_id": "C1", "store_id": "S01", "staff_id": "E002",
         "channel": "web", "model": "X1", "budget_band": "100k_200k", "use": "family",
         "finance": "cash", "purchase_kind": "first", "created_at": datetime(2026, 4, 1, 9, 0),
         "first_contact_at": datetime(2026, 4, 1, 9, 30), "signed_at": datetime(2026, 4, 5, 10, 0),
         "promised_at": datetime(2026, 5, 1, 18, 0), "delivered_at": datetime(2026, 5, 1, 12, 0),
         "followed_up_at": datetime(2026, 5, 3, 12, 0), "list_price_fen": 15_000_000,
         "discount_fen": 123_456, "amount_fen": 14_876_544},
    ],
    "service_orders": [
        {"order_id": "O1", "vehicle_id": "V1", "customer_id": "C1", "store_id": "S01",
         "staff_id": "E001", "kind": "repair", "work_level": "minor", "fault_group": "engine",
         "status": "closed", "opened_at": datetime(2026, 4, 10, 9, 0),
         "arrived_at": datetime(2026, 4, 10, 8, 50), "started_at": datetime(2026, 4, 10, 9, 20),
         "ready_at": datetime(2026, 4, 10, 11, 0), "promised_at": datetime(2026, 4, 10, 12, 0),
         "closed_at": datetime(2026, 4, 10, 12, 0), "odometer_km": 10_000, "labour_hours": 1.5,
         "estimate_fen": 100_000, "labour_fen": 60_000, "parts_fen": 50_000, "discount_fen": 0,
         "waited_for_parts": False},
        {"order_id": "O2", "vehicle_id": "V1", "customer_id": "C1", "store_id": "S01",
         "staff_id": "E001", "kind": "repair", "work_level": "minor", "fault_group": "engine",
         "status": "closed", "opened_at": datetime(2026, 4, 15, 9, 0),
         "closed_at": datetime(2026, 4, 15, 15, 0), "odometer_km": 10_500, "comeback_of": "O1",
         "waited_for_parts": True},
        {"order_id": "O3", "vehicle_id": "V1", "customer_id": "C1", "store_id": "S02",
         "kind": "maintenance", "work_level": "level2", "status": "closed",
         "opened_at": datetime(2026, 6, 10, 9, 0), "closed_at": datetime(2026, 6, 10, 17, 0),
         "odometer_km": 12_500},
        {"order_id": "O4", "vehicle_id": "V2", "customer_id": "C2", "store_id": "S02",
         "kind": "warranty", "status": "open", "opened_at": datetime(2026, 6, 1, 9, 0),
         "closed_at": datetime(2026, 6, 1, 10, 0)},
    ],
    "parts_lines": [
        {"order_id": "O1", "part_group": "engine", "requested_at": datetime(2026, 4, 10, 9, 30),
         "supplied_at": datetime(2026, 4, 10, 9, 40), "from_stock": True, "quantity": 1},
    ],
    "survey_responses": [
        {"response_id": "R1", "respondent": "customer", "customer_id": "C1", "store_id": "S01",
         "staff_id": "E001", "touchpoint": "service", "event_id": "O1", "wave": "2026Q2",
         "channel": "sms", "base_weight": 1.0, "invited_at": datetime(2026, 4, 12, 9, 0),
         "responded_at": datetime(2026, 4, 12, 10, 0), "duration_s": 95, "recommend": 9,
         "overall": 9, "service": 8, "price": 98, "comment": "很好，电话13812345678"},
        {"response_id": "R2", "respondent": "customer", "customer_id": "C2", "store_id": "S02",
         "touchpoint": "service", "wave": "2026Q2", "invited_at": datetime(2026, 6, 12, 9, 0)},
    ],
    "complaints": [
        {"complaint_id": "K1", "customer_id": "C1", "vehicle_id": "V1", "store_id": "S01",
         "event_id": "O1", "stage": "after_sales", "first_owner": "E001", "channel": "hotline",
         "type": "service", "severity": "minor", "received_at": datetime(2026, 4, 16, 9, 0),
         "first_response_at": datetime(2026, 4, 16, 11, 0),
         "resolved_at": datetime(2026, 4, 18, 9, 0), "closed_at": datetime(2026, 4, 19, 9, 0),
         "outcome": "resolved", "reopened": False, "compensation_fen": 5_050,
         "text": "车牌沪A12345没修好"},
    ],
    "complaint_events": [
        {"complaint_id": "K1", "at": datetime(2026, 4, 16, 9, 0), "actor": "E001",
         "action": "receive"},
    ],
    "contacts": [
        {"contact_id": "T1", "customer_id": "C1", "store_id": "S01", "staff_id": "E001",
         "at": datetime(2026, 6, 30, 9, 0), "direction": "in", "channel": "phone",
         "purpose": "enquiry", "hold_out": False, "answered_at": datetime(2026, 6, 30, 9, 5),
         "outcome": "solved", "benefit_fen": 0},
    ],
    "process_checks": [
        {"check_id": "P1", "visit_id": "I1", "object_type": "order", "object_id": "O1",
         "store_id": "S01", "stage": "reception", "source": "audit", "checklist": "A",
         "item": "1", "critical": True, "weight": 1, "passed": True,
         "checked_at": datetime(2026, 4, 20, 9, 0)},
        {"check_id": "P2", "visit_id": "I1", "store_id": "S01", "stage": "reception",
         "source": "audit", "checklist": "A", "item": "2", "critical": False, "weight": 1,
         "passed": False, "checked_at": datetime(2026, 4, 20, 9, 0)},
    ],
    "training": [
        {"staff_id": "E001", "course": "礼仪", "area": "skill", "mode": "online",
         "held_on": date(2026, 5, 1), "passed": True, "score": 88},
    ],
}  # fmt: skip


def cell(column, value, dialect):
    """A value as the dialect writes it."""
    if value is None:
        return None
    if value in column.values:
        return column.values[value][dialect]
    if column.type == "bool":
        return (("是", "否"), ("Y", "N"))[dialect][not value]
    if column.type == "money":
        return f"{value / 100:.2f}" if dialect == 0 else value / 100
    if dialect == 1:
        return value
    if column.type == "date":
        return f"{value:%Y-%m-%d}"
    return f"{value:%Y-%m-%d %H:%M:%S}" if column.type == "datetime" else str(value)


def lines(name, rows, dialect):
    """Header and rows of a table as the dialect writes them."""
    columns = PLAN.tables[name].exported
    header = [column.headers[dialect] for column in columns.values()]
    body = [[cell(c, row.get(n), dialect) for n, c in columns.items()] for row in rows]
    return [header, *body]


def write_csv(place, rows, encoding="gb18030", delimiter=","):
    place.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    place.write_bytes(text.getvalue().encode(encoding))


def write_xlsx(place, rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(place)


def write(raw, tables=None, dialect=0):
    """Write tables (default: all rows above) as one dialect below a raw folder."""
    for name, rows in (ROWS if tables is None else tables).items():
        file = PLAN.tables[name].files[dialect]
        body = lines(name, rows, dialect)
        if dialect == 0:
            title = [PLAN.tables[name].label["zh"] + "导出"]
            write_csv(raw / "dms_a" / f"{file}.csv", [title, *body])
        else:
            write_xlsx(raw / "dms_b" / f"{file}.xlsx", body)
    return raw
