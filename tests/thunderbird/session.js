// What the test asks of Thunderbird, run in its main window. Everything is left on `globalThis.post` for the scripts that follow.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");

const post = (globalThis.post = {});

/** Waits until `probe` gives something true, and returns it. */
post.until = async (what, probe, seconds = 20) => {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const found = probe();
    if (found) {
      return found;
    }
    await new Promise(resolve => setTimeout(resolve, 10));
  }
  throw new Error(`in vain: ${what}`);
};

/** Calls `start` with a listener for URLs and one for copies, and waits for the end of either. */
post.end = (what, start) =>
  new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`in vain: ${what}`)), 30_000);
    const stopped = status => (Components.isSuccessCode(status) ? resolve() : reject(new Error(`${what}: ${status.toString(16)}`)));
    start({
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl: (_, status) => stopped(status),
      onStartCopy() {},
      onProgress() {},
      setMessageKey() {},
      getMessageId: () => null,
      onStopCopy: status => stopped(status),
    });
  });

post.open = async (user, password, port) => {
  const server = MailServices.accounts.createIncomingServer(user, "localhost", "imap");
  server.port = port;
  server.socketType = Ci.nsMsgSocketType.SSL;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init("imap://localhost", null, "imap://localhost", user, password, "", "");
  await Services.logins.addLoginAsync(login);
  const identity = MailServices.accounts.createIdentity();
  identity.email = user;
  const account = MailServices.accounts.createAccount();
  account.addIdentity(identity);
  account.incomingServer = server;
  post.server = server.QueryInterface(Ci.nsIImapIncomingServer);
  post.root = server.rootFolder;
  post.root.getNewMessages(null, null);
  await post.until("INBOX and Trash", () => post.folder("INBOX") && post.folder("Trash"));
};

post.folders = () => [...post.root.descendants].map(folder => [folder.URI.split("/").slice(3).join("/"), folder.flags]);

post.folder = name => [...post.root.descendants].find(folder => decodeURI(folder.URI).endsWith(`/${name}`));

/** Looks at a folder as one who clicks on it, until it shows so many messages. */
post.update = async (name, count) => {
  post.folder(name).updateFolder(null);
  await post.until(`${count} messages in ${name}`, () => post.headers(name).length == count);
};

post.headers = name => [...post.folder(name).messages];

post.chosen = (name, uids) => {
  const wanted = new Set(uids);
  return post.headers(name).filter(header => wanted.has(header.messageKey));
};

/** Fetches every message of a folder, and waits until each is kept. */
post.download = async name => {
  const folder = post.folder(name);
  folder.setFlag(Ci.nsMsgFolderFlags.Offline);
  folder.downloadAllForOffline(null, null);
  await post.until(`${name} offline`, () => post.headers(name).every(header => header.flags & Ci.nsMsgMessageFlags.Offline));
};

/** A message as it came: without the lines that Thunderbird writes in front, X-Mozilla-Status and the like, which end with LF alone. */
const withoutNotes = bytes => {
  for (const note = "X-Mozilla-"; ; ) {
    const end = bytes.indexOf(10);
    if (String.fromCharCode(...bytes.subarray(0, note.length)) != note || bytes[end - 1] == 13) {
      return bytes;
    }
    bytes = bytes.subarray(end + 1);
  }
};

/** {uid: [SHA-256 of what it keeps of the message, flags]}. */
post.held = async name => {
  const held = {};
  const folder = post.folder(name);
  for (const header of post.headers(name)) {
    const stream = folder.getMsgInputStream(header);
    const binary = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
    binary.setInputStream(stream);
    const parts = [];
    for (let length; (length = binary.available()); ) {
      parts.push(Uint8Array.from(binary.readByteArray(length)));
    }
    binary.close();
    const whole = withoutNotes(new Uint8Array(await new Blob(parts).arrayBuffer()));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
    const flags = [];
    if (header.isRead) flags.push("\\Seen");
    if (header.isFlagged) flags.push("\\Flagged");
    if (header.flags & Ci.nsMsgMessageFlags.Replied) flags.push("\\Answered");
    const words = header.getStringProperty("keywords").split(" ");
    held[header.messageKey] = [Array.from(digest, byte => byte.toString(16).padStart(2, "0")).join(""), flags, words];
  }
  return held;
};

post.copy = (from, uids, to, isMove) =>
  post.end(`copy to ${to}`, listener =>
    MailServices.copy.copyMessages(post.folder(from), post.chosen(from, uids), post.folder(to), isMove, listener, null, false)
  );

post.append = async (path, to) => {
  const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
  file.initWithPath(path);
  await post.end(`append to ${to}`, listener =>
    MailServices.copy.copyFileMessage(file, post.folder(to), null, false, Ci.nsMsgMessageFlags.Read, "", listener, null)
  );
};

post.remove = async (name, uids) => {
  const folder = post.folder(name);
  await post.end(`remove from ${name}`, listener => folder.deleteMessages(post.chosen(name, uids), null, false, true, listener, false));
};

post.create = async name => {
  post.root.createSubfolder(name, null);
  await post.until(name, () => post.folder(name));
};
