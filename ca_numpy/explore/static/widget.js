// The widget `ca_numpy.viz.explorer`: the front end over the notebook's connection to its kernel.
import { mount } from "./explorer.js";
import { overComm } from "./transport.js";

export default {
  render({ model, el }) {
    const transport = overComm(model);
    mount(el, transport);
    return () => transport.close();
  },
};
