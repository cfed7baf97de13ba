"""Messages of hostile and rare shapes, made by rule: (name, message, words about it)."""

import base64

# Longer than what is held of a message at once, and with NUL in it.
LARGE = bytes(n * n % 251 for n in range(1_500_000))

HEAD = (
    b"Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nFrom: Soins <soins@ehpad-lilas.mssante.fr>\r\n"
    b"To: urgences@chu-demo.mssante.fr\r\nSubject: forme\r\nMessage-ID: <forme@ehpad-lilas.mssante.fr>\r\nMIME-Version: 1.0\r\n"
)


def multipart(subtype, boundary, *parts, close=True, parameters=b"", preamble=b"", epilogue=b""):
    text = b"Content-Type: multipart/" + subtype + b'; boundary="' + boundary + b'"' + parameters + b"\r\n\r\n" + preamble
    for part in parts:
        text += b"--" + boundary + b"\r\n" + part + b"\r\n"
    if close:
        text += b"--" + boundary + b"--\r\n" + epilogue
    return text


def part(content_type, body=b"corps", *fields):
    head = b"Content-Type: " + content_type + b"\r\n" if content_type else b""
    return head + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


PLAIN = part(b"text/plain; charset=utf-8", b"un\r\ndeux")
INNER = b"From: a@b.fr\r\nTo: c@d.fr\r\nSubject: dedans\r\nDate: Fri, 20 Nov 2026 09:00:00 +0100\r\n"


def nested(depth):
    text = part(b"text/plain", b"au fond")
    for level in range(depth):
        text = multipart(b"mixed", b"n%d" % level, text)
    return text


def messages(depth):
    text = b"Subject: au fond\r\n\r\nfin\r\n"
    for level in range(depth):
        text = b"Subject: niveau %d\r\nContent-Type: message/rfc822\r\n\r\n" % level + text
    return text


def report(kind, machine, original):
    return multipart(
        b"report", b"rapport", part(b"text/plain; charset=us-ascii", b"Votre message.\r\n"), machine, original,
        parameters=b"; report-type=" + kind,
    )


STATUS = part(
    b"message/delivery-status",
    b"Reporting-MTA: dns; mx.chu-demo.mssante.fr\r\n\r\nFinal-Recipient: rfc822; x@chu-demo.mssante.fr\r\nAction: failed\r\nStatus: 5.1.1\r\n",
)
GLOBAL_STATUS = part(b"message/global-delivery-status", "Reporting-MTA: dns; mx.hôpital.fr\r\n".encode(), b"Content-Transfer-Encoding: 8bit")
NOTICE = part(
    b"message/disposition-notification",
    b"Final-Recipient: rfc822; x@chu-demo.mssante.fr\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n",
)


def field(text):
    """A message with one more field."""
    return HEAD + text + b"\r\n\r\ncorps\r\n"


def bare(text):
    """A message of this header alone."""
    return text + b"\r\n\r\ncorps\r\n"


def shapes():
    mixed = lambda *parts, **more: HEAD + multipart(b"mixed", b"b", *parts, **more)
    return [
        ("plain", HEAD + b"\r\nbonjour\r\n"),
        ("plain-without-line-end", HEAD + b"\r\nbonjour"),
        ("empty-body", HEAD + b"\r\n"),
        ("no-empty-line", HEAD),
        ("no-header", b"\r\ncorps\r\n"),
        ("blank-lines", HEAD + b"\r\n\r\n\r\n\r\n"),
        ("html", HEAD + part(b"text/html", b"<p>un</p>\r\n")),
        ("charset-odd", HEAD + part(b"text/plain; charset=x-inconnu-9", b"\xe9\xe8\r\n", b"Content-Transfer-Encoding: 8bit")),
        ("charset-quoted", HEAD + part(b'text/plain; charset="ISO-8859-15"; format=flowed; delsp=yes', b"un \r\ndeux\r\n")),
        ("encoding-unknown", HEAD + part(b"text/plain", b"abc\r\n", b"Content-Transfer-Encoding: x-maison")),
        ("encoding-empty", HEAD + part(b"text/plain", b"abc\r\n", b"Content-Transfer-Encoding:")),
        ("encoding-odd-case", HEAD + part(b"text/plain", b"YWJj\r\n", b"Content-Transfer-Encoding: BaSe64")),
        ("mixed", mixed(PLAIN, part(b"application/pdf; name=a.pdf", b"JVBERi0=", b"Content-Transfer-Encoding: base64"))),
        ("mixed-preamble-epilogue", mixed(PLAIN, PLAIN, preamble=b"avant\r\n", epilogue=b"apres\r\n")),
        ("mixed-epilogue-open", mixed(PLAIN, PLAIN, epilogue=b"apres")),
        ("mixed-one-part", mixed(PLAIN)),
        ("mixed-not-closed", mixed(PLAIN, PLAIN, close=False)),
        ("mixed-cut-in-text", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nun\r\n--b\r\nContent-Type: image/png\r\n\r\ndeux"),
        ("mixed-cut-in-header", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nun\r\n--b\r\nContent-Type: image/png\r\n"),
        ("mixed-empty", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n"),
        ("mixed-nothing", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"),
        ("mixed-only-text", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\njuste du texte\r\n"),
        ("mixed-no-boundary", HEAD + b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nun\r\n--b--\r\n"),
        ("mixed-empty-boundary", HEAD + b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\nun\r\n----\r\n'),
        ("mixed-long-boundary", HEAD + multipart(b"mixed", b"x" * 70, PLAIN, PLAIN)),
        ("boundary-with-spaces", HEAD + multipart(b"mixed", b"un deux trois", PLAIN, PLAIN)),
        ("boundary-with-specials", HEAD + multipart(b"mixed", b"=_('+_,-./:=?", PLAIN, PLAIN)),
        ("boundary-with-padding", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \t\r\n\r\nun\r\n--b-- \t\r\n"),
        ("boundary-prefix", mixed(multipart(b"mixed", b"bb", PLAIN, PLAIN), PLAIN)),
        ("boundary-prefix-inverse", HEAD + multipart(b"mixed", b"bb", multipart(b"mixed", b"b", PLAIN, PLAIN), PLAIN)),
        ("boundary-same-inside", mixed(multipart(b"mixed", b"b", PLAIN, PLAIN), PLAIN)),
        ("boundary-of-outer-ends-inner", mixed(multipart(b"mixed", b"c", PLAIN, PLAIN, close=False), PLAIN)),
        ("boundary-twice", mixed(b"", b"", PLAIN)),
        ("part-without-header", mixed(b"\r\nsans champs")),
        ("part-without-empty-line", mixed(b"Content-Type: image/png", PLAIN)),
        ("part-with-empty-body", mixed(b"Content-Type: image/png\r\n", PLAIN)),
        ("part-blank", mixed(b"\r\n", PLAIN)),
        ("part-ends-with-blank-lines", mixed(part(b"text/plain", b"un\r\n\r\n\r\n"), PLAIN)),
        ("alternative", HEAD + multipart(b"alternative", b"a", PLAIN, part(b"text/html", b"<p>un</p>"))),
        ("related", HEAD + multipart(b"related", b"r", part(b"text/html", b'<img src="cid:1">'), part(b"image/png", b"iVBO", b"Content-ID: <1@x>", b"Content-Location: http://x/1"), parameters=b'; type="text/html"; start="<0@x>"')),
        ("digest", HEAD + multipart(b"digest", b"d", b"\r\n" + INNER + b"\r\nun\r\n", part(b"text/plain", b"deux"))),
        ("nested-5", HEAD + nested(5)),
        ("nested-30", HEAD + nested(30)),
        ("messages-5", messages(5)),
        ("rfc822", mixed(PLAIN, part(b"message/rfc822", INNER + b"\r\nun\r\ndeux\r\n"))),
        ("rfc822-at-top", HEAD + part(b"message/rfc822", INNER + b"\r\nun\r\ndeux\r\n")),
        ("rfc822-multipart", mixed(part(b"message/rfc822", INNER + multipart(b"mixed", b"i", PLAIN, PLAIN)), PLAIN)),
        ("rfc822-empty", mixed(part(b"message/rfc822", b""), PLAIN)),
        ("rfc822-header-only", mixed(part(b"message/rfc822", INNER), PLAIN)),
        ("global", mixed(part(b"message/global", "Subject: été\r\nFrom: é <é@b.fr>\r\n\r\nun\r\n".encode(), b"Content-Transfer-Encoding: 8bit"))),
        ("partial", HEAD + part(b'message/partial; id="x@y"; number=1; total=2', INNER + b"\r\nun\r\n")),
        ("external-body", HEAD + part(b"message/external-body; access-type=URL; URL=\"http://x/\"", b"Content-Type: image/png\r\n\r\n")),
        ("dsn", HEAD + report(b"delivery-status", STATUS, part(b"message/rfc822", INNER + b"\r\nun\r\n"))),
        ("dsn-headers", HEAD + report(b"delivery-status", STATUS, part(b"text/rfc822-headers", INNER))),
        ("dsn-global", HEAD + report(b"delivery-status", GLOBAL_STATUS, part(b"message/global", "Subject: é\r\n\r\nun\r\n".encode()))),
        ("mdn", HEAD + report(b"disposition-notification", NOTICE, part(b"message/rfc822", INNER + multipart(b"mixed", b"i", PLAIN)))),
        ("mdn-without-original", HEAD + multipart(b"report", b"m", PLAIN, NOTICE, parameters=b"; report-type=disposition-notification")),
        ("signed", HEAD + multipart(b"signed", b"s", PLAIN, part(b"application/pkcs7-signature; name=smime.p7s", b"MIAG", b"Content-Transfer-Encoding: base64", b"Content-Disposition: attachment; filename=smime.p7s"), parameters=b'; protocol="application/pkcs7-signature"; micalg=sha-256')),
        ("type-without-subtype", HEAD + part(b"text", b"un\r\n")),
        ("type-empty", HEAD + part(b" ", b"un\r\n")),
        ("type-garbage", HEAD + part(b"?/?; ==; a=b", b"un\r\n")),
        ("type-twice", HEAD + part(b"text/html", b"un\r\n", b"Content-Type: text/plain")),
        ("type-with-comments", HEAD + part(b"text/plain (un; deux) ; (trois) charset=utf-8 (quatre)", b"un\r\n")),
        ("type-folded", HEAD + part(b"text/plain;\r\n\tcharset=utf-8;\r\n format=flowed", b"un\r\n")),
        ("name-encoded-word", HEAD + part(b'application/pdf; name="=?utf-8?q?r=C3=A9sultat.pdf?="', b"JVBE\r\n")),
        ("name-8bit", HEAD + part('application/pdf; name="résultat.pdf"'.encode(), b"JVBE\r\n")),
        ("name-not-quoted", HEAD + part(b"application/pdf; name=mon fichier.pdf", b"JVBE\r\n")),
        ("name-escapes", HEAD + part(b'application/pdf; name="a\\"b\\\\c.pdf"', b"JVBE\r\n")),
        ("name-2231", HEAD + part(b"application/pdf; name*=utf-8'fr'r%C3%A9sultat.pdf", b"JVBE\r\n")),
        ("name-2231-pieces", HEAD + part(b"application/pdf; name*0*=utf-8''r%C3%A9; name*1=sul; name*2*=tat%2Epdf", b"JVBE\r\n")),
        ("name-2231-plain-pieces", HEAD + part(b'application/pdf; name*1="tat.pdf"; name*0="resul"', b"JVBE\r\n")),
        ("name-2231-hole", HEAD + part(b'application/pdf; name*0="resul"; name*2="tat.pdf"', b"JVBE\r\n")),
        ("name-both", HEAD + part(b"application/pdf; name=a.pdf; name*=utf-8''%C3%A9.pdf", b"JVBE\r\n")),
        ("disposition", HEAD + part(b"application/pdf", b"JVBE\r\n", b"Content-Disposition: attachment; filename=a.pdf; size=12; creation-date=\"Fri, 20 Nov 2026 09:00:00 +0100\"")),
        ("disposition-empty", HEAD + part(b"application/pdf", b"JVBE\r\n", b"Content-Disposition:")),
        ("disposition-only-parameter", HEAD + part(b"application/pdf", b"JVBE\r\n", b"Content-Disposition: ; filename=a.pdf")),
        ("languages", HEAD + part(b"text/plain", b"un\r\n", b"Content-Language: fr, en (un peu), de")),
        ("language-one", HEAD + part(b"text/plain", b"un\r\n", b"Content-Language: fr")),
        ("md5-location-id-description", HEAD + part(b"text/plain", b"un\r\n", b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", b"Content-Location: http://x/\r\n y", b"Content-ID: <1@x>", b"Content-Description: la\r\n piece")),
        ("description-8bit", HEAD + part(b"text/plain", b"un\r\n", "Content-Description: pièce".encode())),
        ("subject-8bit", bare("Subject: été à l'hôpital\r\nFrom: Zoé <z@b.fr>".encode())),
        ("subject-latin1", bare(b"Subject: \xe9t\xe9\r\nFrom: Zo\xe9 <z@b.fr>")),
        ("subject-encoded", bare(b"Subject: =?utf-8?b?w6l0w6k=?= =?iso-8859-1?q?=E0?=\r\nFrom: =?utf-8?q?Zo=C3=A9?= <z@b.fr>")),
        ("subject-folded", bare(b"Subject: un\r\n deux\r\n\ttrois\r\nFrom: z@b.fr")),
        ("subject-folded-empty-line", bare(b"Subject: un\r\n \r\n deux\r\nFrom: z@b.fr")),
        ("subject-quotes", bare(b'Subject: a "b" \\c (d) {5}\r\nFrom: z@b.fr')),
        ("subject-empty", bare(b"Subject:\r\nFrom: z@b.fr")),
        ("subject-twice", bare(b"Subject: un\r\nSubject: deux\r\nFrom: z@b.fr")),
        ("subject-long", bare(b"Subject: " + b"x" * 5000 + b"\r\nFrom: z@b.fr")),
        ("header-line-very-long", bare(b"From: z@b.fr\r\nX-Long: " + b"y" * 200_000 + b"\r\nSubject: fin")),
        ("body-line-very-long", HEAD + b"\r\n" + b"z" * 200_000 + b"\r\nfin\r\n"),
        ("addresses-group", bare(b"From: z@b.fr\r\nTo: soins: a@b.fr, C <c@d.fr>;, e@f.fr\r\nCc: vide:;\r\nBcc: undisclosed-recipients:;")),
        ("addresses-route", bare(b"From: Z <@un.fr,@deux.fr:z@b.fr>\r\nTo: <@un.fr:a@b.fr>")),
        ("addresses-obsolete", bare(b"From: z @ b . fr\r\nTo: Jean . Paul <jp@b.fr>, ,, a@b.fr")),
        ("addresses-comments", bare(b"From: z@b.fr (Zoe (la vraie))\r\nTo: (devant) a@b.fr, \"B\" (milieu) <b@b.fr> (fin)")),
        ("addresses-quoted", bare(b'From: "Zoe \\"la\\" Z." <z@b.fr>\r\nTo: "un deux"@b.fr, "a\\\\b"@b.fr')),
        ("addresses-bare", bare(b"From: root\r\nTo: Jean Dupont\r\nCc: <>\r\nReply-To: <seul>")),
        ("addresses-empty", bare(b"From:\r\nTo:   \r\nSender: \r\nReply-To: (rien)")),
        ("addresses-twice", bare(b"From: a@b.fr\r\nFrom: c@d.fr\r\nTo: e@f.fr\r\nTo: g@h.fr")),
        ("addresses-literal", bare(b"From: z@[192.0.2.1]\r\nTo: a@[IPv6:2001:db8::1]")),
        ("addresses-broken", bare(b"From: z@b.fr <c@d.fr>\r\nTo: a@b@c.fr, <d@e.fr, f@g.fr>, \"ouvert <h@i.fr>")),
        ("addresses-many", bare(b"From: z@b.fr\r\nTo: " + b",\r\n ".join(b"U%d <u%d@b.fr>" % (n, n) for n in range(300)))),
        ("reply-and-ids", bare(b"From: z@b.fr\r\nSender: s@b.fr\r\nReply-To: r@b.fr\r\nIn-Reply-To: <1@x>\r\n <2@x>\r\nMessage-ID: <3@x> (note)")),
        ("date-odd", bare(b"Date: samedi (ou pas)\r\nFrom: z@b.fr")),
        ("fields-of-no-form", bare(b"From nobody Sat\r\nsans deux points\r\nX Espace: y\r\n: vide\r\nFrom: z@b.fr\r\nSubject : espace avant")),
        ("leading-continuation", bare(b" suite de rien\r\nFrom: z@b.fr\r\nSubject: x")),
        ("field-name-case", bare(b"FROM: z@b.fr\r\nsUBJECT: x\r\nMESSAGE-id: <1@x>")),
        ("name-2231-many", HEAD + part(b"application/pdf; " + b"; ".join(b"name*%d=%c" % (n, 97 + n) for n in range(20)), b"JVBE\r\n")),
        ("control-characters", bare(b"From: z@b.fr\r\nSubject: a\x01b\x7fc\tz")),
        ("large", mixed(PLAIN, part(b"application/pdf", base64.encodebytes(LARGE).replace(b"\n", b"\r\n"), b"Content-Transfer-Encoding: base64"))),
    ]


# Dovecot stores other bytes, and 2.3 ends the session on bare CR: what is left to compare with is the message itself.
ALONE = [
    ("bare-cr", HEAD + b"\r\nun\rdeux\r\n"),
    ("bare-cr-in-header", bare(b"From: z@b.fr\r\nSubject: un\rdeux")),
    ("bare-lf", HEAD + b"\r\nun\ndeux\n"),
    ("bare-lf-header", HEAD.replace(b"\r\n", b"\n") + b"\ncorps\n"),
    ("bare-lf-multipart", (HEAD + multipart(b"mixed", b"b", PLAIN, PLAIN)).replace(b"\r\n", b"\n")),
]
