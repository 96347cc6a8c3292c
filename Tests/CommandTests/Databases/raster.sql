-- extensions: postgis, postgis_raster, postgis_sfcgal
CREATE SCHEMA ext; CREATE EXTENSION postgis SCHEMA ext; CREATE EXTENSION postgis_raster SCHEMA ext; CREATE EXTENSION postgis_sfcgal SCHEMA ext;
ALTER DATABASE raster SET search_path = public, ext;
SET search_path = public, ext;
CREATE TABLE dem(rid serial PRIMARY KEY, rast raster, filename text);
INSERT INTO dem(rast,filename) SELECT ST_SetValue(ST_AddBand(ST_MakeEmptyRaster(16,16,i*16,0,1,-1,0,0,3857),'16BSI'::text,i,-9999),1,3,3,i*2), 'tile_'||i||'.tif' FROM generate_series(1,60) i;
CREATE INDEX dem_hull ON dem USING gist(ST_ConvexHull(rast));
SELECT AddRasterConstraints('public'::name,'dem'::name,'rast'::name);
CREATE TABLE solids(id int PRIMARY KEY, g geometry(PolyhedralSurfaceZ), CONSTRAINT v CHECK (ST_IsSolid(ST_MakeSolid(g)) IS NOT NULL));
INSERT INTO solids SELECT i, ST_Extrude(ST_MakeEnvelope(0,0,i,i),0,0,2) FROM generate_series(1,30) i;
CREATE TABLE regions(id int PRIMARY KEY, geom geometry(MultiPolygon,3857), c geometry GENERATED ALWAYS AS (ST_Centroid(geom)) STORED);
INSERT INTO regions(id,geom) SELECT i, ST_Multi(ST_MakeEnvelope(i,i,i+2,i+2,3857)) FROM generate_series(1,400) i;
CREATE MATERIALIZED VIEW stats AS SELECT rid, (ST_SummaryStats(rast)).* FROM dem;
CREATE FUNCTION area_of(r regions) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT ST_Area(r.geom)';
CREATE INDEX regions_area ON regions (ST_Area(geom));
