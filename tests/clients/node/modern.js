// @fluent-org/logger: sends the records of its argument and ends when all are written or acknowledged.
const { FluentClient, EventTime } = require("@fluent-org/logger");

const { client, records, when } = JSON.parse(process.argv[2]);
const logger = new FluentClient("app", client);
const emits = records.map((record) => logger.emit("node", record, EventTime.fromTimestamp(when)));
Promise.all(emits)
  .then(() => logger.disconnect())
  .then(() => process.exit(0))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
setTimeout(() => process.exit(3), 20000).unref();
