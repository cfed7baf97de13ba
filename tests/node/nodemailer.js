// Sends one mail with nodemailer; what to send comes as JSON on standard input, what came of it goes out as JSON.
const fs = require("fs");
const nodemailer = require("nodemailer");

const task = JSON.parse(fs.readFileSync(0, "utf8"));
const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: task.port,
  secure: task.tls === "implicit",
  requireTLS: true,
  name: "poste.example",
  auth: { user: task.user, pass: task.password },
  authMethod: task.mechanism,
  tls: { ca: fs.readFileSync(task.ca), servername: "localhost" },
});
transport.sendMail(task.mail, (error, info) => {
  const told = error ? { code: error.responseCode, response: error.response || String(error) } : { code: 250, response: info.response };
  console.log(JSON.stringify(told));
  transport.close();
});
