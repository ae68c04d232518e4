// tuf-js reads a published directory: read.js OUT SCRATCH TARGET...
//
// Trusts the first root, refreshes, and downloads each target by its name. Fails at the first that it refuses.
// TIDELOCK_TEST_NODE_MODULES says where tuf-js is installed.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { createRequire } = require('node:module');

const modules = process.env.TIDELOCK_TEST_NODE_MODULES;
const { Updater } = modules ? createRequire(path.join(modules, 'x.js'))('tuf-js') : require('tuf-js');

async function main() {
  const [out, scratch, ...names] = process.argv.slice(2);
  const server = http.createServer((request, response) => {
    const file = path.join(out, path.normalize(decodeURIComponent(request.url)));
    fs.readFile(file, (error, bytes) => {
      response.writeHead(error ? 404 : 200);
      response.end(error ? '' : bytes);
    });
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const url = `http://127.0.0.1:${server.address().port}`;
  const [metadataDir, targetDir] = ['node-metadata', 'node-targets'].map((name) => path.join(scratch, name));
  for (const place of [metadataDir, targetDir]) fs.mkdirSync(place, { recursive: true });
  fs.copyFileSync(path.join(out, 'metadata', '1.root.json'), path.join(metadataDir, 'root.json'));
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: `${url}/metadata`,
    targetDir,
    targetBaseUrl: `${url}/targets`,
  });
  await updater.refresh();
  for (const name of names) {
    const info = await updater.getTargetInfo(name);
    if (!info) throw new Error(`tuf-js finds no ${name}`);
    await updater.downloadTarget(info);
  }
  const root = JSON.parse(fs.readFileSync(path.join(metadataDir, 'root.json'), 'utf8'));
  server.closeAllConnections?.();
  server.close();
  console.log(`tuf-js read root ${root.signed.version}, ${names.length} targets`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
