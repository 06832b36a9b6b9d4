-- Switches of a lab PACS (files in /run/rota-lab, set by `lab-member`): what a store request gets.

local SWITCHES = "/run/rota-lab/"

local function switch(name)
  local file = io.open(SWITCHES .. name, "r")
  if file == nil then
    return nil
  end
  local text = file:read("*l") or ""
  file:close()
  return text
end

function ReceivedInstanceFilter(dicom, origin, info)
  local seconds = tonumber(switch("slow") or "")
  if seconds ~= nil then
    os.execute("sleep " .. seconds)
  end
  if switch("full") ~= nil then
    -- Orthanc answers an error here with A700 (PS3.4 table B.2-1: out of resources). The callback made for
    -- such answers, ReceivedCStoreInstanceFilter, takes every status for "store it" in 1.12.7, and 0 for no.
    error("this archive is full")
  end
  return true
end
