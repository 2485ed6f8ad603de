"use strict";
exports.greeting = (name) => `hello from ${name}, ${new Intl.NumberFormat("de-DE").format(1234567.5)}`;
