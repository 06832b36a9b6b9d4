-- Switches of a lab PACS (files in /run/rota-lab, set by `lab-member`): what a store request gets.

local SWITCHES = "/run/rota-lab/"
local OUT_OF_RESOURCES = 0xA700 -- PS3.4 table B.2-1: refused, out of resources

local function switch(name)
  local file = io.open(SWITCHES .. name, "r")
  if file == nil then
    return nil
  end
  local text = file:read("*l") or ""
  file:close()
  return text
end

function ReceivedCStoreInstanceFilter(dicom, origin, info)
  local seconds = tonumber(switch("slow") or "")
  if seconds ~= nil then
    os.execute("sleep " .. seconds)
  end
  if switch("full") ~= nil then
    return OUT_OF_RESOURCES
  end
  return 0x0000
end
