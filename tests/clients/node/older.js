// fluent-logger: sends the records of its argument and ends when all are written or acknowledged.
const { createFluentSender, EventTime } = require("fluent-logger");

const { client, records, when } = JSON.parse(process.argv[2]);
const quiet = { info: () => {}, error: console.error };
const sender = createFluentSender("app", { ...client, internalLogger: quiet });
sender.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
let left = records.length;
for (const record of records) {
  sender.emit("node", record, EventTime.fromTimestamp(when), (error) => {
    if (error) {
      console.error(error);
      process.exit(1);
    }
    left -= 1;
    if (left === 0) process.exit(0);
  });
}
setTimeout(() => process.exit(3), 20000);
