// Two imapflow clients at once on one box, then the extensions they use; the plan comes as JSON on standard input:
// {"server": {"port", "ca", "user", "password"}, "folder", "folders", "messages": [path, …], "flags": [[…], …],
//  "work": [[[what, numbers, word], …], …], "large", "views": [path, path]}.
const assert = require("assert");
const { createHash } = require("crypto");
const fs = require("fs");
const { ImapFlow } = require("imapflow");

const task = JSON.parse(fs.readFileSync(0, "utf8"));
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function connect(more = {}) {
  const client = new ImapFlow({
    host: "localhost",
    port: task.server.port,
    secure: true,
    tls: { ca: fs.readFileSync(task.server.ca) },
    auth: { user: task.server.user, pass: task.server.password },
    logger: false,
    ...more,
  });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  return client;
}

// Both at once: client 0 and 1.
const both = (work) => Promise.all([0, 1].map(work));

async function bring(client, which) {
  const uids = new Map();
  for (let number = which; number < task.messages.length; number += 2) {
    const bytes = fs.readFileSync(task.messages[number]);
    const told = await client.append(task.folder, bytes, task.flags[number], new Date("2026-11-01T10:00:00Z"));
    assert(told.uid > 0 && told.uidValidity > 0n, JSON.stringify(told, text));
    uids.set(number, told.uid);
  }
  return uids;
}

const text = (_, value) => (typeof value === "bigint" ? String(value) : value);

async function work(client, steps, uids) {
  for (const [what, numbers, word] of steps) {
    // In pieces, so that the two come between one another.
    for (let start = 0; start < numbers.length; start += 7) {
      const range = numbers.slice(start, start + 7).map((number) => uids.get(number)).join(",");
      const uid = { uid: true };
      if (what === "add") await client.messageFlagsAdd(range, [word], { ...uid, useLabels: false });
      else if (what === "remove") await client.messageFlagsRemove(range, [word], uid);
      else if (what === "move") await client.messageMove(range, word, uid);
      else await client.messageDelete(range, uid);
    }
  }
}

// {folder: {uid: [digest, flags]}}
async function view(client) {
  const held = {};
  for (const folder of task.folders) {
    const lock = await client.getMailboxLock(folder, { readOnly: true });
    held[folder] = {};
    for await (const one of client.fetch("1:*", { uid: true, flags: true, size: true, source: true })) {
      assert.equal(one.size, one.source.length);
      const flags = [...one.flags].filter((flag) => flag !== "\\Recent").sort();
      held[folder][one.uid] = [digest(one.source), flags];
    }
    assert.equal(Object.keys(held[folder]).length, client.mailbox.exists);
    lock.release();
  }
  return held;
}

const next = (client, name, wanted = () => true) =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${name} within 30 s`)), 30_000);
    const hear = (event) => {
      if (!wanted(event)) return;
      clearTimeout(late);
      client.off(name, hear);
      resolve(event);
    };
    client.on(name, hear);
  });

// What left a folder and what changed, told by SELECT (QRESYNC …) to a client that knew it earlier.
async function resynchronise(other) {
  const client = await connect({ qresync: true });
  for (const name of ["CONDSTORE", "QRESYNC"]) assert(client.enabled.has(name), [...client.enabled].join());
  await client.mailboxOpen(task.folder);
  const { uidValidity, highestModseq, exists } = client.mailbox;
  assert(highestModseq > 0n && uidValidity > 0n);
  const all = await client.search({ all: true }, { uid: true });
  assert.equal(all.length, exists);
  await client.mailboxClose();

  await other.mailboxOpen(task.folder);
  const [gone, flagged] = all.slice(-2);
  await other.messageFlagsAdd([flagged], ["\\Flagged", "$Revu"], { uid: true });
  await other.messageDelete([gone], { uid: true });
  await other.mailboxClose();

  const events = [];
  client.on("expunge", (event) => events.push(["expunge", event.uid, event.vanished, event.earlier]));
  client.on("flags", (event) => events.push(["flags", event.uid, event.flags.has("$Revu")]));
  const opened = await client.mailboxOpen(task.folder, { changedSince: highestModseq, uidValidity });
  assert(opened.qresync, JSON.stringify(opened, text));
  assert.deepEqual(events, [["expunge", gone, true, true], ["flags", flagged, true]]);
  assert.equal(client.mailbox.exists, exists - 1);
  const changed = [];
  for await (const one of client.fetch("1:*", { uid: true, flags: true }, { uid: true, changedSince: highestModseq })) changed.push(one);
  assert.deepEqual(changed.map((one) => one.uid), [flagged]);
  assert(changed[0].modseq > highestModseq);
  await other.mailboxOpen(task.folder);
  await other.messageFlagsRemove([flagged], ["\\Flagged", "$Revu"], { uid: true });
  const come = next(client, "exists");
  await other.append(task.folder, Buffer.from("Subject: bref\r\n\r\n"));
  await client.noop();
  await come;
  const vanished = next(client, "expunge");
  const [last] = (await other.search({ all: true }, { uid: true })).slice(-1);
  await other.messageDelete([last], { uid: true });
  await client.noop();
  const left = await vanished;
  assert.equal(left.uid, last);
  assert(left.vanished);
  await client.logout();
}

// IDLE: what the other does is told while nothing is asked.
async function listen(client, other) {
  await client.mailboxOpen(task.folder);
  await other.mailboxOpen(task.folder);
  const count = client.mailbox.exists;
  const idling = client.idle();
  const come = next(client, "exists", (event) => event.count === count + 1);
  await other.append(task.folder, Buffer.from("Subject: pendant\r\n\r\nIDLE\r\n"));
  assert.equal((await come).prevCount, count);
  const marked = next(client, "flags", (event) => event.flags.has("\\Flagged"));
  await other.messageFlagsAdd("*", ["\\Flagged"]);
  await marked;
  const left = next(client, "expunge");
  await other.messageDelete("*");
  assert.equal((await left).seq, count + 1);
  await client.noop();
  await idling;
  assert.equal(client.mailbox.exists, count);
}

async function looks(client) {
  const all = await client.search({ all: true }, { uid: true });
  const seen = await client.search({ seen: true }, { uid: true });
  const unseen = await client.search({ seen: false }, { uid: true });
  assert.deepEqual([...seen, ...unseen].sort((a, b) => a - b), all);
  assert.equal((await client.search({ larger: 900_000 }, { uid: true })).length, task.large);
  assert((await client.search({ header: { subject: "hôpital" } }, { uid: true })).length > 0);
  const ids = new Map();
  const query = { uid: true, envelope: true, bodyStructure: true, internalDate: true, threadId: true, headers: ["subject"], bodyParts: ["1"] };
  for await (const one of client.fetch(all, query, { uid: true })) {
    assert(one.envelope && one.bodyStructure && one.internalDate && one.emailId, one.uid);
    assert.equal(new Date(one.internalDate).toISOString(), "2026-11-01T10:00:00.000Z");
    ids.set(one.emailId, one.uid);
  }
  assert.equal(ids.size, all.length);
  // OBJECTID: found again by it, and the same after a copy.
  const [id, uid] = [...ids][0];
  assert.deepEqual(await client.search({ emailId: id }, { uid: true }), [uid]);
  await client.mailboxCreate(`${task.folder}/Seul`);
  const copy = await client.messageCopy([uid], `${task.folder}/Seul`, { uid: true });
  const there = copy.uidMap.get(uid);
  await client.mailboxOpen(`${task.folder}/Seul`);
  assert.equal((await client.fetchOne(there, { uid: true }, { uid: true })).emailId, id);
  const { content } = await client.download(there, undefined, { uid: true });
  const pieces = [];
  for await (const piece of content) pieces.push(piece);
  return { read: Buffer.concat(pieces), uid };
}

async function folders(client) {
  const listed = new Map((await client.list({ statusQuery: { messages: true, uidNext: true, highestModseq: true } })).map((one) => [one.path, one]));
  for (const [path, use] of [["Sent", "\\Sent"], ["Trash", "\\Trash"], ["Drafts", "\\Drafts"], ["Junk", "\\Junk"], ["INBOX", "\\Inbox"]]) {
    assert.equal(listed.get(path).specialUse, use);
  }
  for (const path of task.folders) assert(listed.get(path).status.uidNext > 0, path);
  const name = `${task.folder}/Été & œufs`;
  const made = await client.mailboxCreate(name);
  assert(made.created && made.mailboxId, JSON.stringify(made));
  assert.equal((await client.mailboxCreate(name)).created, false);
  await client.mailboxSubscribe(name);
  assert((await client.list()).find((one) => one.path === name).subscribed);
  await client.mailboxRename(name, `${name} 漢`);
  const opened = await client.mailboxOpen(`${name} 漢`);
  assert.equal(opened.mailboxId, made.mailboxId);
  assert.equal(opened.exists, 0);
  await client.mailboxClose();
  await client.mailboxUnsubscribe(name);
  await client.mailboxDelete(`${name} 漢`);
  await assert.rejects(client.mailboxOpen(`${name} 漢`));
  assert(await client.getQuota("INBOX"));
}

async function main() {
  const pair = await both(() => connect());
  for (const name of ["IDLE", "MOVE", "UIDPLUS", "COMPRESS=DEFLATE", "CONDSTORE", "QRESYNC", "SPECIAL-USE", "OBJECTID", "BINARY", "ESEARCH"]) {
    assert(pair[0].capabilities.has(name), name);
  }
  assert(pair[0].streamer.compress, "not compressed");
  for (const folder of task.folders) await pair[0].mailboxCreate(folder);
  const halves = await both((which) => bring(pair[which], which));
  const uids = new Map([...halves[0], ...halves[1]]);
  await both((which) => pair[which].mailboxOpen(task.folder));
  await both((which) => work(pair[which], task.work[which], uids));
  const views = await both((which) => view(pair[which]));
  views.forEach((held, which) => fs.writeFileSync(task.views[which], JSON.stringify(held)));

  await folders(pair[0]);
  // From here on in a copy.
  const copy = `${task.folder}/Copie`;
  await pair[0].mailboxCreate(copy);
  await pair[0].mailboxOpen(task.folder);
  const copied = await pair[0].messageCopy("1:*", copy);
  assert.equal(copied.uidMap.size, pair[0].mailbox.exists);
  await pair[0].mailboxClose();
  task.folder = copy;
  await resynchronise(pair[1]);
  await listen(pair[0], pair[1]);
  const found = await looks(pair[0]);
  const original = task.messages.map((path) => fs.readFileSync(path)).find((bytes) => bytes.equals(found.read));
  assert(original, "a copy reads as the original");
  await both((which) => pair[which].logout());
}

main().catch((error) => {
  console.error(error, error.response, error.responseText);
  process.exit(1);
});
