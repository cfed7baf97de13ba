"""Messages of every kind that a box receives, made by rule: the same seed and number are always the same message.

As a program, writes them as files (0000.eml, …). Standard input: {"folder": path, "count", "seed", "keeper"}.
"""

import base64
import email
import email.policy
import json
import os
import quopri
import random
import sys

import shapes

COUNT = 500
SEED = 20261121
# The numbers of messages of 1 to 3 MB.
BIG = {number: 1_000_000 + 500_000 * rank for rank, number in enumerate(range(99, COUNT, 100))}

WORDS = "ordonnance bilan résultat été hôpital cœur 漢字 заключение ημερομηνία compte-rendu α→β 🩺 naïf Noël lettre".split()


def messages(count=COUNT, seed=SEED, keeper="wire"):
    """`count` different messages that `keeper` keeps as they are: "wire" all; "maildir" those with whole lines and a
    whole header (mbsync leaves others alone);
    "offlineimap" of these, those of known charsets that Python's email package writes as it has read them."""
    kept = {"wire": lambda _: True, "maildir": whole, "offlineimap": lambda text: whole(text) and b"x-inconnu" not in text and rewritten_the_same(text)}[keeper]
    found, number = {}, 0
    hostile = [text for _, text in shapes.shapes() + shapes.ALONE]
    while len(found) < count:
        if len(found) in BIG:
            text = big(random.Random(f"{seed} {number}"), number, BIG[len(found)])
        elif number < len(hostile):
            text = hostile[number]
        else:
            text = varied(random.Random(f"{seed} {number}"), number)
        if kept(text):
            found[text] = None
        number += 1
    return list(found)


def whole(text):
    rest = text.replace(b"\r\n", b"")
    return b"\r" not in rest and b"\n" not in rest and (b"\r\n\r\n" in text or text.startswith(b"\r\n"))


def rewritten_the_same(text):
    policy = email.policy.default.clone(cte_type="8bit", utf8=True, refold_source="none", linesep="\r\n")
    try:
        return email.message_from_bytes(text, policy=policy).as_bytes(policy=policy) == text
    except Exception:  # what it cannot read, or cannot write
        return False


def varied(rng, number):
    """A message drawn by lot: fields, then a tree of parts."""
    return b"".join(fields(rng, number)) + b"MIME-Version: 1.0\r\n" + tree(rng, 0)


def big(rng, number, size):
    lines = base64.encodebytes(rng.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    body = shapes.part(b"application/dicom; " + name(rng), lines, b"Content-Transfer-Encoding: base64")
    return b"".join(fields(rng, number)) + b"MIME-Version: 1.0\r\n" + shapes.multipart(b"mixed", b"gros", shapes.PLAIN, body)


def fields(rng, number):
    words = " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))
    b64 = base64.b64encode(words.encode()[:30].decode(errors="ignore").encode())
    subject = rng.choice([
        words.encode(), words.encode("latin-1", "replace"), b"=?utf-8?B?" + b64 + b"?=", b"=?x-inconnu?Q?=E9?= =?utf-8?q?trou", b"",
        b"Re: [EXT] a \"b\" (c) {5} \\ %", b"long" * 300, b"plie\r\n sur\r\n\ttrois lignes",
    ])
    yield b"Received: from a.example by b.example with ESMTPS; Sat, 21 Nov 2026 10:00:00 +0100\r\n" * rng.randint(0, 4)
    yield b"Date: %s, %d Nov 2026 %02d:%02d:%02d +0100\r\n" % (b"Sat", rng.randint(1, 28), rng.randrange(24), number % 60, rng.randrange(60))
    yield b"From: " + rng.choice([b"Soins <soins@lilas.fr>", "Zoé <z@b.fr>".encode(), b"=?iso-8859-1?q?Zo=E9?= <z@b.fr>", b"z@b.fr (Zoe)"]) + b"\r\n"
    yield b"To: " + b",\r\n ".join(b"u%d@chu.fr" % n for n in range(rng.choice([1, 1, 2, 40]))) + b"\r\n"
    yield b"Subject: " + subject + b"\r\nMessage-ID: <varie.%d@lilas.fr>\r\n" % number
    if rng.random() < 0.3:
        yield b"References:" + b"".join(b"\r\n <varie.%d@lilas.fr>" % rng.randrange(number) for _ in range(rng.randint(1, 20))) + b"\r\n"
    if rng.random() < 0.1:
        yield b"X-Vide:\r\nX-Long: " + b"y" * rng.randint(900, 9000) + b"\r\n"


def tree(rng, depth):
    """The fields of a type, an empty line, a body."""
    kind = rng.random()
    if depth < 5 and kind < 0.35:
        subtype = rng.choice([b"mixed", b"alternative", b"related", b"x-inconnu", b"parallel"])
        boundary = rng.choice([b"b", b"bb", b"=_%d" % rng.randrange(10**9), b"a b", b"x" * 70])
        parts = [tree(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 2, 3]))]
        more = {"close": rng.random() < 0.85, "preamble": rng.choice([b"", b"avant\r\n"]), "epilogue": rng.choice([b"", b"apres\r\n"])}
        return shapes.multipart(subtype, boundary, *parts, **more)
    if depth < 5 and kind < 0.45:
        return shapes.part(b"message/rfc822", b"".join(fields(rng, rng.randint(1, 999))) + tree(rng, depth + 1))
    if kind < 0.5:
        report = rng.choice([(b"delivery-status", shapes.STATUS), (b"disposition-notification", shapes.NOTICE)])
        return shapes.report(*report, shapes.part(b"message/rfc822", b"".join(fields(rng, 7)) + b"\r\noriginal\r\n"))
    return leaf(rng)


def leaf(rng):
    text = " ".join(rng.choices(WORDS, k=rng.randint(0, 200)))
    disposition = b"Content-Disposition: " + rng.choice([b"inline", b"attachment; " + file_name(rng)])
    return rng.choice([
        lambda: shapes.part(b"text/plain; charset=utf-8", crlf(text.encode(), rng), b"Content-Transfer-Encoding: 8bit"),
        lambda: shapes.part(b"text/plain; charset=iso-8859-15", crlf(text.encode("iso-8859-15", "replace"), rng), b"Content-Transfer-Encoding: 8BIT"),
        lambda: shapes.part(b"text/html; charset=utf-8", quoted(text), b"Content-Transfer-Encoding: quoted-printable"),
        lambda: shapes.part(b"application/pdf; " + name(rng), base64.encodebytes(rng.randbytes(rng.randint(0, 20_000))).replace(b"\n", b"\r\n"),
                            b"Content-Transfer-Encoding: base64", disposition),
        lambda: shapes.part(b"application/octet-stream", rng.randbytes(rng.randint(1, 4000)).translate(None, b"\0\r\n"),
                            b"Content-Transfer-Encoding: binary", disposition),
        lambda: shapes.part(b"text/plain", b"z" * rng.randint(998, 60_000) + b"\r\n"),
        lambda: shapes.part(b"text/plain", b"From debut\r\n.\r\n..\r\n>From cite\r\n-- \r\n"),
        lambda: shapes.part(b"", b""),
        lambda: shapes.part(b"text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", b"Content-ID: <%d@x>" % rng.randrange(99)),
        lambda: shapes.part(b"application/xml; " + name(rng), b"<ClinicalDocument/>", disposition, b"Content-Description: r\xe9sum\xe9"),
    ])()


def crlf(text, rng):
    lines = [line + b" " for line in text.split(b" ")]
    return b"".join(line + (b"\r\n" if rng.random() < 0.1 else b"") for line in lines)


def quoted(text):
    return quopri.encodestring(text.encode()).replace(b"\n", b"\r\n")


def name(rng):
    """A name, in one of the ways it is written."""
    return rng.choice([
        b"name=a.pdf", b'name="un deux.pdf"', b"name*=utf-8'fr'r%C3%A9sum%C3%A9.pdf", b"name*0*=utf-8''r%C3%A9; name*1=su; name*2*=m%C3%A9.pdf",
        b'name="=?utf-8?q?r=C3=A9sum=C3=A9.pdf?="', 'name="résumé.pdf"'.encode(), b"name*=x-inconnu''%E9%ZZ", b"name*1=b; name*0=a",
        b"name=" + b"n" * 300, b'name="a\\"b\\\\c"', b"charset=binary;\r\n\tname=a",
    ])


def file_name(rng):
    return b"file" + name(rng).replace(b"; name", b"; filename")


def main(task):
    for number, text in enumerate(messages(task["count"], task["seed"], task["keeper"])):
        with open(os.path.join(task["folder"], f"{number:04}.eml"), "wb") as file:
            file.write(text)


if __name__ == "__main__":
    main(json.load(sys.stdin))
