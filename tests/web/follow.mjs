// Follows the events at a URL with the package `eventsource`, as a browser does, and prints the sequence of each.

import {EventSource} from "eventsource";

const [url, count] = process.argv.slice(2);
let seen = 0;
let opened = 0;
const source = new EventSource(url);

source.onopen = () => { opened += 1; };
source.onmessage = message => {
    console.log(JSON.parse(message.data).sequence, message.lastEventId);
    seen += 1;
    if (seen === Number(count)) {
        source.close();
        console.log("opened", opened);
    }
};
