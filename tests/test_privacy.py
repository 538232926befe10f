"""Keys stay secret and outside, pseudonyms stay apart, personal numbers never stay readable."""

import json
import os
import random
import stat
import time

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealerqm import privacy
from dealerqm.errors import PrivacyError
from dealerqm.privacy import Key, mask, mask_all, pseudonyms

SECRET = bytes(range(32))
KEY = Key(SECRET)

# ---------------------------------------------------------------- keys


def test_a_key_never_shows_itself():
    for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY])):
        assert SECRET.hex() not in text and "\\x01\\x02" not in text
    assert KEY.fingerprint != Key(bytes(32) + b"x").fingerprint
    assert KEY.fingerprint not in SECRET.hex()


def test_a_new_key_is_found_by_path_variable_and_folder(tmp_path, monkeypatch):
    project = tmp_path / "project"
    place = tmp_path / "config" / "dealerqm" / "key"
    made = privacy.new_key(place)
    if os.name == "posix":
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    monkeypatch.delenv("DEALERQM_KEY_FILE", raising=False)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    assert privacy.load_key(place, project=project) == made
    other = privacy.new_key(tmp_path / "other")
    monkeypatch.setenv("DEALERQM_KEY_FILE", str(tmp_path / "other"))
    assert privacy.load_key(None, project=project) == other
    assert not made.demo and made != other
    with pytest.raises(PrivacyError, match="exists and is kept"):
        privacy.new_key(place)


def test_the_users_folder_is_the_last_place(tmp_path, monkeypatch):
    monkeypatch.delenv("DEALERQM_KEY_FILE", raising=False)
    monkeypatch.setattr(privacy.keys.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = privacy.new_key(tmp_path / "config" / "dealerqm" / "key")
    assert privacy.load_key(None, project=tmp_path / "project") == made


def test_without_a_key_nothing_goes_and_the_message_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DEALERQM_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(PrivacyError, match=r"nothing is imported.*dealerqm key FILE"):
        privacy.load_key(None, project=tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"ab" * 31, b"\0" * 64, b"00" * 32])
def test_weak_keys_are_refused(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(PrivacyError, match="expected 32 random"):
        privacy.load_key(tmp_path / "key", project=tmp_path / "project")


def test_a_key_inside_the_project_is_refused(tmp_path):
    privacy.new_key(tmp_path / "project" / "deep" / "key")
    with pytest.raises(PrivacyError, match="inside the project folder"):
        privacy.load_key(tmp_path / "project" / "deep" / "key", project=tmp_path / "project")


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "samples"
    (folder / "raw" / "dms_a").mkdir(parents=True)
    (folder / "raw" / "dms_a" / "门店.csv").write_text("a", encoding="utf-8")
    (folder / "raw" / "b.csv").write_text("b", encoding="utf-8")
    document = privacy.demo_document(SECRET, folder)
    (folder / "demo.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_the_demonstration_key_opens_the_sample_only(samples):
    key = privacy.demo_key(samples)
    assert key.demo and key.fingerprint == KEY.fingerprint
    (samples / "raw" / "b.csv").write_text("real", encoding="utf-8")
    with pytest.raises(PrivacyError, match=r"1 raw files are not the sample's, first raw/b\.csv"):
        privacy.demo_key(samples)


@pytest.mark.parametrize("change", ["more", "fewer", "list", "seal", "gone", "key"])
def test_any_change_of_the_sample_closes_it(samples, change):
    place = samples / "demo.json"
    document = json.loads(place.read_text(encoding="utf-8"))
    if change == "more":
        (samples / "raw" / "c.csv").write_text("c", encoding="utf-8")
    elif change == "fewer":
        (samples / "raw" / "b.csv").unlink()
    elif change == "gone":
        place.unlink()
    else:
        changed = {"list": ("files", {}), "seal": ("seal", "0" * 64), "key": ("key", "zz")}
        document.update([changed[change]])
        place.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(PrivacyError, match="dealerqm key FILE"):
        privacy.demo_key(samples)


# ---------------------------------------------------------------- pseudonyms


def test_equal_persons_get_equal_pseudonyms_and_spaces_stay_apart():
    values = pd.Series(["C1", " C1", "Ｃ1", "C2", None], index=[3, 4, 5, 6, 7])
    found = pseudonyms(KEY, "customer", values)
    assert found.index.tolist() == [3, 4, 5, 6, 7]
    assert found.nunique() == 2 and found.isna().tolist() == [False] * 4 + [True]
    assert found.dropna().str.fullmatch("c_[0-9a-f]{16}").all()
    spaces = [pseudonyms(KEY, person, pd.Series(["C1"]))[0][2:] for person in privacy.keys.PREFIXES]
    assert len(set(spaces)) == 5


def test_another_key_gives_other_pseudonyms():
    one = pd.Series(["C1"])
    assert pseudonyms(KEY, "staff", one)[0] != pseudonyms(Key(b"other" * 8), "staff", one)[0]


def test_phones_and_vins_are_compared_without_their_spelling():
    phones = pd.Series(["13800138000", "+86 138-0013-8000", "138 0013 8000"])
    vins = pd.Series(["LSVAA4182E2184847", "lsvaa4182e2184847", "LSVAA 4182E-2184847"])
    assert len(set(pseudonyms(KEY, "phone", phones))) == 1
    assert len(set(pseudonyms(KEY, "vin", vins))) == 1


def test_an_unknown_space_is_refused():
    with pytest.raises(PrivacyError, match="Nearest: customer"):
        pseudonyms(KEY, "custmer", pd.Series(["x"]))


# ---------------------------------------------------------------- made-up personal numbers


def resident_id(chance, good=True):
    day = f"{chance.randint(1958, 2003)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    body = f"{chance.choice([110105, 310115, 440106, 510104])}{day}{chance.randint(0, 999):03}"
    total = sum(int(d) * (1 << (17 - i)) for i, d in enumerate(body)) % 11
    digit = "10X98765432"[total]
    return body + (digit if good else "3" if digit != "3" else "4")


def vin(chance, good=True):
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    worth = {**dict(zip(letters, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8,
                                  9], strict=True)), **{str(d): d for d in range(10)}}  # fmt: skip
    body = "LSV" + "".join(chance.choice(letters) for _ in range(5)) + "0"
    body += "".join(chance.choice(letters) for _ in range(4))
    body += f"{chance.randint(0, 9999):04}"
    weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    rest = sum(worth[c] * w for c, w in zip(body, weights, strict=True)) % 11
    rest = rest if good else (rest + 1) % 11
    return body[:8] + "0123456789X"[rest] + body[9:]


def card(chance):
    body = "622202" + "".join(chance.choice("0123456789") for _ in range(12))
    digits = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(body))]
    return body + str(-sum(d - 9 if d > 9 else d for d in digits) % 10)


def mobile(chance):
    return chance.choice(["138", "159", "177", "199"]) + f"{chance.randint(0, 99_999_999):08}"


def wide(text):
    return "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) <= 0x7E else c for c in text)


def cut(text, *sizes, by):
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return by.join([*parts, text[at:]])


def planted(seed):
    """Kind and spelling of made-up personal numbers, as people write them."""
    chance = random.Random(seed)
    one, phone, car, money = resident_id(chance), mobile(chance), vin(chance), card(chance)
    plate = chance.choice("京沪粤苏") + chance.choice("ABCD")
    return [
        ("resident_id", one), ("resident_id", one.lower()), ("resident_id", wide(one)),
        ("resident_id", cut(one, 6, 8, by=" ")), ("resident_id", cut(one, 6, 8, by="-")),
        ("resident_id", cut(one, 9, by="\u200b")),
        ("mobile", phone), ("mobile", "+86 " + cut(phone, 3, 4, by=" ")), ("mobile", "86-" + phone),
        ("mobile", cut(phone, 3, 4, by="-")), ("mobile", cut(phone, 3, 4, by=".")),
        ("mobile", wide(phone)), ("mobile", cut(phone, 5, by="\u200d")), ("mobile", "0086" + phone),
        ("mobile", " ".join(phone)), ("mobile", cut(phone, 3, 2, 2, 2, by=" ")),
        ("mobile", "".join("零一二三四五六七八九"[int(d)] for d in phone)),
        ("landline", f"010-6{chance.randint(0, 9_999_999):07}"),
        ("landline", f"(021)5{chance.randint(0, 9_999_999):07}"),
        ("landline", f"0571 8{chance.randint(0, 9_999_999):07}"),
        ("plate", f"{plate}12{chance.choice('ABC')}45"), ("plate", f"{plate}·1234X"),
        ("plate", f"{plate} 8t912"), ("plate", f"{plate}D12345"), ("plate", f"{plate}12345F"),
        ("plate", f"{plate}1234学"), ("plate", wide(f"{plate}12345")),
        ("vin", car), ("vin", car.lower()), ("vin", wide(car)), ("vin", cut(car, 3, 6, by=" ")),
        ("bank_card", money), ("bank_card", cut(money, 4, 4, 4, 4, by=" ")),
        ("email", "zhang.san88@mail.example"), ("email", wide("lisi@qq.example")),
        ("wechat", "微信号：wx_ab12345"), ("wechat", "wechat: zhangsan"),
        ("wechat", "vx li_si2000"),
        ("qq", f"QQ：{chance.randint(10**7, 10**9)}"), ("passport", "护照E12345678"),
        ("passport", "passport no. EA1234567"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_personal_numbers_are_masked_wherever_they_stand(seed):
    for kind, spelling in planted(seed):
        for before, after in [("", ""), ("客户说", "，请尽快"), ("call ", " now"), ("①", "。")]:
            text, kinds = mask(before + spelling + after)
            assert kinds == (kind,), (spelling, text)
            assert text == f"{before}[{kind}]{after}", spelling


NEAR_MISSES = [
    "行驶里程138,000公里", "合计¥13,812.34", "20240613", "20240613182530", "138123456789", "95598",
    "06H-115-403-J", "225/45R17", "5W-30", "A6L 45 TFSI", "98.6%", "12345", "S0138", "10072386255",
    "00018147815", "2026-09-30 18:25:30", "新A6L 45 TFSI", "云服务很好", "工单RO20260913000123",
    "0.0123456789", "微信服务很好", "WeChat service is good", "QQ群里说过", "贵A级车不错",
    "编号E20240613", "400-820-1234", "13.30-15.30", "9:30-12:00", "2026年3月15日", "第3次保养",
]  # fmt: skip


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_what_only_looks_personal_stays_readable(text):
    for sentence in (text, f"客户说{text}。", f"see {text} ok"):
        assert mask(sentence) == (sentence, ())


@pytest.mark.parametrize("seed", range(20))
def test_wrong_check_digits_are_no_personal_numbers(seed):
    chance = random.Random(seed)
    for number in (resident_id(chance, good=False), vin(chance, good=False)):
        assert mask(f"订单{number}") == (f"订单{number}", ())


def test_two_numbers_in_one_text_are_both_masked():
    text, kinds = mask("电话13812345678，身份证11010519491231002X，车牌沪A12345")
    assert text == "电话[mobile]，身份证[resident_id]，车牌[plate]"
    assert kinds == ("mobile", "resident_id", "plate")


def test_full_width_punctuation_around_a_number_is_kept():
    assert mask("（１３８１２３４５６７８），！")[0] == "（[mobile]），！"


@given(st.text(alphabet="很好满意服务态度不错，。！abcXYZ 一二三微信qq@-.0123", max_size=80))
def test_masking_never_loses_other_characters(text):
    masked, kinds = mask(text)
    if not kinds:
        assert masked == text
    rest = masked
    for kind in kinds:
        head, found, rest = rest.partition(f"[{kind}]")
        assert found and text.startswith(head)
        text = text[len(head) :]
        text = text[text.rfind(rest) :] if rest else ""


def test_clean_comments_keep_their_characters():
    chance = random.Random(7)
    words = [
        "服务很好", "等了30分钟", "花了1280元", "里程52000公里", "机油5W-30", "2026年8月", "再来",
        "Great service!", "顾问很专业", "轮胎225/45R17", "价格偏高", "第2次来",
    ]  # fmt: skip
    texts = ["，".join(chance.sample(words, 4)) for _ in range(2000)]
    assert all(mask(text)[0] == text for text in texts)


@pytest.mark.parametrize(
    "piece", ["1", "a", "1 ", "A-", "@", "a@", "一", "沪A", "微信", "62", "0", "vx "]
)
def test_time_grows_no_faster_than_the_text(piece):
    started = time.perf_counter()
    mask(piece * 40_000)
    assert time.perf_counter() - started < 3


def test_columns_are_masked_once_per_distinct_text():
    texts = pd.Series(["车牌沪A12345", None, "好", "车牌沪A12345"], index=[5, 6, 7, 8])
    masked, counts = mask_all(texts)
    assert masked.index.tolist() == [5, 6, 7, 8] and counts == {"plate": 2}
    assert masked[8] == "车牌[plate]" and masked.isna()[6]
